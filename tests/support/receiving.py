"""A listener with what stands behind it in `serve`: journal, clerk, registrar and ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.dicom.part10 import write_part10
from node.domain.clock import SystemClock
from node.listener.clerk import Clerk
from node.listener.desk import REGISTRAR, News
from node.listener.registrar import Registrar
from node.net.scu import SendResult, send_files
from node.store.ledger import Ledger, open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.dicom_objects import EXPLICIT, MR
from tests.support.listening import Heard, listening, peer_of
from tests.support.peers import wait_until


@dataclass(frozen=True, slots=True)
class Node:
    """A listener over a real spool and ledger."""

    folder: Path
    ledger: Ledger
    heard: Heard
    clerk: Clerk

    @property
    def spool(self) -> Spool:
        return self.heard.spool

    def send(self, *paths: Path) -> tuple[SendResult, ...]:
        """Send files and wait until what came of them is in the ledger."""
        before = len(self.heard.news)
        results = send_files(peer_of(self.heard), paths)
        answered = sum(result.status is not None for result in results)
        # Reports of a receiving process come a little later than its answers.
        wait_until(lambda: len(self.heard.news) >= before + answered, "all is reported", 20)
        wait_until(lambda: self.clerk.is_idle, "all is written down", 20)
        return results

    def send_raw(self, data_set: bytes, **meta: str) -> int | None:
        """Send bytes as they are under a command that says what meta says."""
        path = self.folder / "raw.dcm"
        with path.open("wb") as target:
            write_part10(
                target,
                data_set=data_set,
                sop_class_uid=meta.get("sop_class_uid", MR),
                sop_instance_uid=meta.get("sop_instance_uid", "1.2.3.4"),
                transfer_syntax_uid=meta.get("transfer_syntax_uid", EXPLICIT),
                source_ae_title="MR1",
            )
        return self.send(path)[0].status

    def refusal_codes(self) -> dict[str, int]:
        return {code: n for code, n in self.ledger.health.counts().refusals.items() if n}

    def objects(self) -> list[Path]:
        return [path for path in self.spool.root.glob("objects/**/*") if path.is_file()]


@contextmanager
def a_node(folder: Path, processes: int) -> Iterator[Node]:
    spool = Spool(folder / "spool")
    ledger = open_ledger(f"sqlite:///{folder}/ledger.sqlite")
    clock = SystemClock()
    clerk = Clerk(Settler(spool, ledger, clock), ledger, clock, on_settled=lambda: None)

    def file(news: News) -> None:
        if news.path:
            clerk.put(Path(news.path))
        else:
            clerk.note(news)

    registrar = Registrar(ledger, spool, clock, settling=lambda: clerk.unsettled > 0)
    services = {REGISTRAR: registrar.answer}
    clerk.start()
    try:
        with listening(
            folder / "spool",
            processes=processes,
            on_news=file,
            services=services,
            on_death=clerk.look_for_orphans,
        ) as heard:
            yield Node(folder, ledger, heard, clerk)
    finally:
        clerk.stop()
        ledger.close()
