"""Artefacts of a stage count only while everything that they depend on still holds."""

from pathlib import Path

import pytest

from node.analysis.artefacts import (
    StageRecord,
    read_record,
    record_sha256,
    stage_key,
    write_record,
)
from node.domain.errors import SpoolDamaged, SpoolUnwritable
from node.imaging.artefacts import write_durably

KEY = stage_key("upstream", {"bundle": "a"})
RECORD = StageRecord(seconds=1.5, summary={"voxels": 6})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_durably(tmp_path / "labels", b"voxels")
    write_record(tmp_path, "infer", RECORD, key=KEY, names=("labels",))
    return tmp_path


def test_a_whole_artefact_is_found_again(folder: Path) -> None:
    assert read_record(folder, "infer", key=KEY) == RECORD


def test_an_altered_file_is_not_trusted(folder: Path) -> None:
    (folder / "labels").write_bytes(b"other!")
    assert read_record(folder, "infer", key=KEY) is None


def test_a_lost_file_is_not_trusted(folder: Path) -> None:
    (folder / "labels").unlink()
    assert read_record(folder, "infer", key=KEY) is None


@pytest.mark.parametrize(
    "key", [stage_key("upstream", {"bundle": "b"}), stage_key("other", {"bundle": "a"})]
)
def test_another_bundle_or_another_input_computes_anew(folder: Path, key: str) -> None:
    assert read_record(folder, "infer", key=key) is None


def test_what_was_sent_already_is_found_whatever_it_depends_on(folder: Path) -> None:
    assert read_record(folder, "infer", key=None) == RECORD


def test_a_half_written_record_is_not_trusted(folder: Path) -> None:
    record = folder / "infer.json"
    record.write_bytes(record.read_bytes()[:-9])
    assert read_record(folder, "infer", key=KEY) is None


def test_the_chain_ends_with_a_named_reason_when_a_record_is_gone(tmp_path: Path) -> None:
    with pytest.raises(SpoolDamaged):
        record_sha256(tmp_path, "infer")


def test_an_unwritable_folder_is_a_named_reason(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnwritable):
        write_durably(tmp_path / "absent" / "file", b"")
