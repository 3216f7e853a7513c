"""A receiving process stays small, and is told all that it is to know."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.domain.ids import AETitle
from node.listener.receiver import ReceiverOptions
from node.listener.receiver_process import charge, options_from
from node.net.storing import ConversationLimits
from node.net.tls import TlsOptions
from node.store.spool import Spool

LIMITS = ConversationLimits(
    patience_s=1.0, idle_s=2.0, message_s=3.0, association_s=4.0, instances=5
)
TLS = TlsOptions(certificate=Path("a.crt"), key=Path("a.key"), authorities=Path("ca.pem"))


@pytest.mark.parametrize("tls", [None, TLS, TlsOptions(certificate=Path("a"), key=Path("b"))])
def test_options_survive_their_way_to_the_process(tls: TlsOptions | None, tmp_path: Path) -> None:
    options = ReceiverOptions(
        ae_title=AETitle("SEGNODE"), limits=LIMITS, max_pdu=16384, longest=10, tls=tls
    )
    message = json.loads(json.dumps(charge(options, Spool(tmp_path), "INFO")))
    assert options_from(message["options"]) == options
    assert Path(message["spool"]) == tmp_path


@pytest.mark.parametrize(
    "heavy", ["sqlalchemy", "prometheus_client", "fastapi", "torch", "SimpleITK", "highdicom"]
)
def test_a_receiving_process_loads_nothing_heavy(heavy: str) -> None:
    program = f"import node.listener.receiver_process, sys; print({heavy!r} in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
