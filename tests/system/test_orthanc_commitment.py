"""Orthanc asks for storage commitment and is called back."""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from node.domain.ids import AETitle
from node.net.scu import Peer
from node.store.admit import Admitter
from node.store.ledger import open_ledger
from node.store.spool import Spool
from tests.support.dicom_objects import MR
from tests.support.ledger_values import SERIES, ManualClock, an_incoming, at
from tests.support.peers import Orthanc, orthanc, wait_until
from tests.support.services import a_registrar, front

pytestmark = pytest.mark.system


def call(peer: Orthanc, method: str, path: str, body: object) -> Any:
    address = f"http://127.0.0.1:{peer.http_port}{path}"
    request = urllib.request.Request(address, json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def test_orthanc_learns_what_is_committed_and_what_is_not(tmp_path: Path) -> None:
    clock, stop = ManualClock(at(0)), threading.Event()
    ledger, spool = open_ledger(f"sqlite:///{tmp_path / 'l.db'}"), Spool(tmp_path / "spool")
    spool.root.mkdir()
    Admitter(spool, ledger, clock).admit(an_incoming(1))
    (tmp_path / "orthanc").mkdir()
    with orthanc(tmp_path / "orthanc") as peer:
        orthanc_peer = Peer(
            ae_title=AETitle(peer.ae_title),
            host="127.0.0.1",
            port=peer.dicom_port,
            calling_ae_title=AETitle("SEGNODE"),
            timeout_s=20,
        )
        registrar = a_registrar(ledger, spool, clock, peers={orthanc_peer.ae_title: orthanc_peer})
        caller = threading.Thread(target=registrar.run, args=(stop,))
        caller.start()
        try:
            with front(registrar.answer) as node:
                modality = {"AET": "SEGNODE", "Host": "127.0.0.1", "Port": node.port}
                call(peer, "PUT", "/modalities/segnode", modality)
                objects = [[MR, f"{SERIES}.1"], [MR, f"{SERIES}.2"]]
                request = {"DicomInstances": objects}
                asked = call(peer, "POST", "/modalities/segnode/storage-commitment", request)
                report = f"/storage-commitment/{asked['ID']}"
                wait_until(lambda: peer.get(report)["Status"] != "Pending", "it is told", 60)
                found = peer.get(report)
        finally:
            stop.set()
            registrar.wake()
            caller.join(30)
    ledger.close()
    assert found["Status"] == "Failure"
    assert [o["SOPInstanceUID"] for o in found["Success"]] == [f"{SERIES}.1"]
    assert [(o["SOPInstanceUID"], o["FailureReason"]) for o in found["Failures"]] == [
        (f"{SERIES}.2", 0x0112)
    ]
