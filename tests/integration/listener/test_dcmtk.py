"""DCMTK as sender: the tools that every hospital has."""

import os
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RTPlanStorage

from node.dicom.part10 import read_file_meta
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    mr_dataset,
    write_file,
)
from tests.support.listening import listening
from tests.support.peers import program
from tests.support.shared import shared_path

pytestmark = pytest.mark.system


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program(name, "dcmtk"), *map(str, arguments)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_echoscu_is_answered(tmp_path: Path) -> None:
    with listening(tmp_path / "spool") as heard:
        assert run("echoscu", "-aec", "SEGNODE", "127.0.0.1", heard.port).returncode == 0


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("-xi", IMPLICIT), ("-xe", EXPLICIT), ("-xb", BIG_ENDIAN), ("-xd", DEFLATED)],
)
def test_storescu_gets_its_own_transfer_syntax(tmp_path: Path, option: str, syntax: str) -> None:
    path = write_file(tmp_path / "a.dcm", mr_dataset(3), syntax)
    with listening(tmp_path / "spool") as heard:
        done = run("storescu", option, "-aet", "MR1", "127.0.0.1", heard.port, path)
    assert done.returncode == 0, done.stderr
    assert heard.news[0].calling_ae_title == "MR1"
    came = dcmread(heard.files()[0])
    assert came.file_meta.TransferSyntaxUID == syntax
    assert came.InstanceNumber == 3


def test_a_refusal_is_shown_to_the_sender(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.dcm", mr_dataset(SOPClassUID=str(RTPlanStorage)))
    with listening(tmp_path / "spool", longest=10) as heard:
        done = run("storescu", "-v", "127.0.0.1", heard.port, path)
    assert "OutOfResources" in done.stdout + done.stderr


def test_a_sender_takes_an_early_no_for_an_answer(tmp_path: Path) -> None:
    # The answer leaves before the data set is read; the sender is still sending it.
    big = mr_dataset(1, Rows=2048, Columns=2048, PixelData=bytes(2**23))
    path = write_file(tmp_path / "a.dcm", big)
    with listening(tmp_path / "spool", longest=10) as heard:
        done = run("storescu", "-v", "-nh", "127.0.0.1", heard.port, path, path)
    assert (done.stdout + done.stderr).count("OutOfResources") == 2


def test_real_compressed_images_come_as_they_are(tmp_path: Path) -> None:
    # The sender offers the native syntaxes together and converts to the one that is accepted.
    folder = shared_path("data/dicom/ts_mosaic_9syntaxes")
    paths = sorted(folder.rglob("*.dcm"))
    sources = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in paths}
    with listening(tmp_path / "spool") as heard:
        done = run("dcmsend", "-dn", "127.0.0.1", heard.port, *paths)
    assert done.returncode == 0, done.stderr
    assert len(heard.files()) == len(sources) == 9
    for path in heard.files():
        came = path.read_bytes()
        with path.open("rb") as file:
            meta = read_file_meta(file)
        source = sources[meta.sop_instance_uid]
        syntax = source.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            assert meta.transfer_syntax_uid == str(syntax)
            assert bytes(source.PixelData)[-1000:].rstrip(b"\0") in came
        else:
            assert meta.transfer_syntax_uid in (IMPLICIT, EXPLICIT, BIG_ENDIAN)


def test_a_real_series_comes_whole(tmp_path: Path) -> None:
    paths = sorted(shared_path("data/dicom/philips_dualecho_gre").rglob("*.dcm"))
    with listening(tmp_path / "spool") as heard:
        done = run("dcmsend", "127.0.0.1", heard.port, *paths)
    assert done.returncode == 0, done.stderr
    assert len({news.sop_instance_uid for news in heard.news}) == 120
