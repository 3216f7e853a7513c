"""DCMTK as sender: the tools that every hospital has."""

import os
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread

from node.dicom.headers import read_header
from tests.support.dicom_objects import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    mr_dataset,
    write_file,
)
from tests.support.listening import Recorder, listening
from tests.support.peers import program
from tests.support.shared import shared_path

pytestmark = pytest.mark.system


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program(name, "dcmtk"), *map(str, arguments)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_echoscu_is_answered() -> None:
    with listening(Recorder()) as listener:
        assert run("echoscu", "-aec", "SEGNODE", "127.0.0.1", listener.port).returncode == 0


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("-xi", IMPLICIT), ("-xe", EXPLICIT), ("-xb", BIG_ENDIAN), ("-xd", DEFLATED)],
)
def test_storescu_gets_its_own_transfer_syntax(tmp_path: Path, option: str, syntax: str) -> None:
    path = write_file(tmp_path / "a.dcm", mr_dataset(3), syntax)
    admit = Recorder()
    with listening(admit) as listener:
        done = run("storescu", option, "-aet", "MR1", "127.0.0.1", listener.port, path)
    assert done.returncode == 0, done.stderr
    assert admit.came[0].transfer_syntax_uid == syntax
    assert admit.came[0].calling_ae_title == "MR1"
    header = read_header(admit.came[0].data_set, syntax)
    assert header.instance_number == 3


def test_a_refusal_is_shown_to_the_sender(tmp_path: Path) -> None:
    from node.domain.errors import SpoolUnwritable  # noqa: PLC0415

    path = write_file(tmp_path / "a.dcm", mr_dataset())
    with listening(Recorder(SpoolUnwritable("no room"))) as listener:
        done = run("storescu", "-v", "127.0.0.1", listener.port, path)
    assert "OutOfResources" in done.stdout + done.stderr


def test_real_compressed_images_come_as_they_are() -> None:
    # The sender offers the native syntaxes together and converts to the one that is accepted.
    folder = shared_path("data/dicom/ts_mosaic_9syntaxes")
    paths = sorted(folder.rglob("*.dcm"))
    sources = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in paths}
    admit = Recorder()
    with listening(admit) as listener:
        done = run("dcmsend", "-dn", "127.0.0.1", listener.port, *paths)
    assert done.returncode == 0, done.stderr
    assert len(admit.came) == len(sources) == 9
    for incoming in admit.came:
        source = sources[incoming.sop_instance_uid]
        syntax = source.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            assert incoming.transfer_syntax_uid == str(syntax)
            assert bytes(source.PixelData)[-1000:].rstrip(b"\0") in incoming.data_set
        else:
            assert incoming.transfer_syntax_uid in (IMPLICIT, EXPLICIT, BIG_ENDIAN)


def test_a_real_series_comes_whole() -> None:
    paths = sorted(shared_path("data/dicom/philips_dualecho_gre").rglob("*.dcm"))
    admit = Recorder()
    with listening(admit) as listener:
        done = run("dcmsend", "127.0.0.1", listener.port, *paths)
    assert done.returncode == 0, done.stderr
    assert len({incoming.sop_instance_uid for incoming in admit.came}) == 120
