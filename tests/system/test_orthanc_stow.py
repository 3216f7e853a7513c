"""A real Orthanc sends a study by STOW-RS, with its own DICOMweb client."""

import json
import urllib.request
from pathlib import Path

import pytest

from node.domain.clock import SystemClock
from node.domain.ids import SOPInstanceUID
from node.store.admit import Admitter
from node.store.ledger import open_ledger
from node.store.spool import Spool
from tests.support.dicom_objects import IMPLICIT, encode, mr_dataset
from tests.support.peers import Orthanc, orthanc
from tests.support.stow import a_stow_server, part10

pytestmark = pytest.mark.system

PLUGINS = Path("/usr/share/orthanc/plugins")
IMAGES = 40


def post(peer: Orthanc, path: str, body: bytes) -> dict[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{peer.http_port}{path}", data=body)
    with urllib.request.urlopen(request, timeout=120) as answer:
        found: dict[str, str] = json.load(answer)
        return found


def test_a_study_that_orthanc_sends_arrives_byte_for_byte(tmp_path: Path) -> None:
    plugin = PLUGINS / "libOrthancDicomWeb.so"
    if not plugin.exists():
        pytest.skip("the DICOMweb plugin is absent (Debian package orthanc-dicomweb)")
    token = tmp_path / "token"
    token.write_text("secret", encoding="utf-8")
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    spool = Spool(tmp_path / "spool")
    admitter = Admitter(spool, ledger, SystemClock())
    made = [mr_dataset(number, PixelData=bytes(200_000)) for number in range(1, IMAGES + 1)]
    with a_stow_server(spool.root, admitter.admit, token_file=token) as port:
        server = {
            "Url": f"http://127.0.0.1:{port}/dicomweb/",
            "HttpHeaders": {"Authorization": "Bearer secret"},
        }
        more = {"Plugins": [str(plugin)], "DicomWeb": {"Servers": {"segnode": server}}}
        with orthanc(tmp_path, more) as peer:
            study = ""
            for image in made:
                study = post(peer, "/instances", part10(image, IMPLICIT))["ParentStudy"]
            body = json.dumps({"Resources": [study], "Synchronous": True}).encode()
            answer = post(peer, "/dicom-web/servers/segnode/stow", body)
    assert answer["InstancesCount"] == str(IMAGES)
    for image in made:
        found = ledger.intake.find_instance(SOPInstanceUID(image.SOPInstanceUID))
        assert found is not None
        assert (spool.root / found.path).read_bytes().endswith(encode(image, IMPLICIT))
    admitter.close()
    ledger.close()
