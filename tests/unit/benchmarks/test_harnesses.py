"""The benchmarks' own parts: a harness that finds nothing must be one that can find something."""

from pathlib import Path

import pytest
from pynetdicom import AE, evt

from node.dicom.headers import read_header
from node.dicom.part10 import write_part10
from tests.benchmarks.corpus import PLACEHOLDER, Template, templates, uid_of, write_corpus
from tests.benchmarks.kill_nine import faults, image
from tests.benchmarks.listener import Run, Setting, rotated, table
from tests.benchmarks.raw_scu import RawSender, Refused
from tests.benchmarks.segnode_site import Site
from tests.support.dicom_objects import EXPLICIT, MR

NUMBERS = (0, 1, 2, 10**12)


class Stored(Site):
    """A site whose ledger is what lies in its folder."""

    def paths(self, first: str = "", last: str = "~") -> dict[str, Path]:
        found = {path.stem: path for path in (self.folder).glob("*.dcm")}
        return {uid: path for uid, path in found.items() if first <= uid <= last}


@pytest.fixture
def made() -> tuple[Template, ...]:
    return templates([4, 300])


@pytest.fixture
def site(tmp_path: Path, made: tuple[Template, ...]) -> Site:
    for number in NUMBERS:
        with (tmp_path / f"{uid_of(number)}.dcm").open("wb") as target:
            write_part10(
                target,
                data_set=image(made, number),
                sop_class_uid=MR,
                sop_instance_uid=uid_of(number),
                transfer_syntax_uid=EXPLICIT,
                source_ae_title="TEST",
            )
    return Stored(folder=tmp_path, ae_title="SEGNODE", port=0)


def test_an_instance_of_a_template_has_its_own_uid_and_the_length_of_all(
    made: tuple[Template, ...],
) -> None:
    sent = made[0].data_set(uid_of(7))
    assert read_header(sent, EXPLICIT).sop_instance_uid == uid_of(7)
    assert len(sent) == len(made[0].encoded)
    assert PLACEHOLDER.encode() not in sent


def test_a_uid_of_another_length_makes_no_instance(made: tuple[Template, ...]) -> None:
    with pytest.raises(ValueError, match="as long as"):
        made[0].data_set("1.2.3")


def test_what_is_there_as_it_was_sent_is_no_fault(site: Site, made: tuple[Template, ...]) -> None:
    assert faults(site, made, NUMBERS) == []


def test_what_the_ledger_does_not_know_is_a_fault(site: Site, made: tuple[Template, ...]) -> None:
    assert faults(site, made, [*NUMBERS, 3]) == ["instance 3 is not in the ledger"]


def test_one_other_byte_is_a_fault(site: Site, made: tuple[Template, ...]) -> None:
    path = site.paths()[uid_of(1)]
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert faults(site, made, NUMBERS) == ["instance 1 has other bytes"]


def test_a_row_without_its_file_is_a_fault(
    site: Site, made: tuple[Template, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = site.paths()
    rows[uid_of(2)].unlink()
    monkeypatch.setattr(Stored, "paths", lambda *_: rows)
    assert faults(site, made, NUMBERS) == ["instance 2 is not in the spool"]


def test_the_raw_sender_is_understood_by_pynetdicom(made: tuple[Template, ...]) -> None:
    came: list[tuple[str, bytes]] = []

    def on_store(event: evt.Event) -> int:
        came.append((event.request.AffectedSOPInstanceUID, event.request.DataSet.getvalue()))
        return 0xA700 if len(came) > 2 else 0

    ae = AE(ae_title="ANY")
    ae.require_called_aet = True
    ae.add_supported_context(MR, EXPLICIT)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    port = server.socket.getsockname()[1]
    try:
        with RawSender(port, called="ANY") as sender:
            statuses = [sender.store(uid_of(n), image(made, n)) for n in range(3)]
        with pytest.raises(Refused):
            RawSender(port, called="OTHER")
    finally:
        server.shutdown()
    assert statuses == [0, 0, 0xA700]
    assert came == [(uid_of(n), image(made, n)) for n in range(3)]


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    first = write_corpus(tmp_path / "a", images=4, parts=2)
    second = write_corpus(tmp_path / "b", images=4, parts=2)
    assert [p.read_bytes() for f in first for p in sorted(f.iterdir())] == [
        p.read_bytes() for f in second for p in sorted(f.iterdir())
    ]


def test_each_receiver_is_the_first_in_turn() -> None:
    names = ("a", "b", "c")
    assert [rotated(names, n)[0] for n in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert all(sorted(rotated(names, n)) == ["a", "b", "c"] for n in range(6))


def test_the_table_gives_medians_and_ratios() -> None:
    setting = Setting(associations=1, images=100)
    runs = [
        Run(receiver=name, setting=setting, seconds=s, settled_s=2 * s, cpu_seconds=s / 2)
        for name, seconds in (("segnode", (1, 9, 0.5)), ("orthanc", (2, 2, 2)))
        for s in seconds
    ]
    lines = list(table(setting, ("orthanc", "segnode"), runs))
    assert lines[-2:] == [
        "| Orthanc | by its defaults | 50 | 50-50 | 10.00 | 4.00 | 1.00 |",
        "| Segnode | yes | 100 | 11-200 | 5.00 | 2.00 | 2.00 |",
    ]
