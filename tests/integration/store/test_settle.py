"""From the journal to the place in the spool and the row in the ledger, on both databases."""

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from node.domain.errors import LedgerUnavailable, RowRefused, SpoolUnwritable
from node.domain.ids import AETitle, SOPInstanceUID, TransferSyntaxUID
from node.domain.states import RevisionState
from node.store.admit import Admission, Incoming
from node.store.intake import Received
from node.store.journal import Journal, files_in, orphans
from node.store.ledger import Ledger, open_ledger
from node.store.settle import Settler
from node.store.spool import Spool
from tests.support.journals import commit
from tests.support.ledger_values import SCANNER, SERIES, STUDY, ManualClock, an_incoming

STORED, DUPLICATE = Admission.STORED, Admission.DUPLICATE
KEPT_ASIDE = Admission.KEPT_ASIDE


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def journal(spool: Spool) -> Iterator[Journal]:
    opened = Journal(spool)
    yield opened
    opened.close()


@pytest.fixture
def settler(spool: Spool, ledger: Ledger) -> Settler:
    return Settler(spool, ledger, ManualClock())


@pytest.fixture(params=["links", "no links"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file system with hard links, then one without."""

    def refused(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refused)


def _series(count: int) -> list[Incoming]:
    return [_slice(number) for number in range(1, count + 1)]


def _slice(number: int, **others: object) -> Incoming:
    return an_incoming(number, **{"SOPInstanceUID": f"{SERIES}.{number}", **others})  # type: ignore[arg-type]  # attributes


def _bytes_of(spool: Spool, ledger: Ledger, incoming: Incoming) -> bytes:
    stored = ledger.intake.find_instance(incoming.sop_instance_uid)
    assert stored is not None
    return spool.read(stored.path, stored.sha256)


def _refusals(ledger: Ledger) -> list[str]:
    story = ledger.stories.story(STUDY)
    refusals = (*ledger.stories.refusals_without_study(), *(story.refusals if story else ()))
    return [refusal.reason.code for refusal in refusals]


def _kept_aside(spool: Spool) -> list[Path]:
    return sorted((spool.root / "aside").rglob("*.dcm"))


@pytest.mark.usefixtures("links")
def test_what_was_committed_gets_its_place_and_its_row(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    series = _series(5)
    paths = [commit(journal, incoming) for incoming in series]
    assert settler.settle(paths) == dict.fromkeys(paths, STORED)
    assert files_in(journal.folder) == []
    for incoming in series:
        assert _bytes_of(spool, ledger, incoming).endswith(incoming.data_set)
    assert ledger.health.counts().instances == 5


def test_a_long_instance_is_settled_without_being_in_memory(
    settler: Settler,
    journal: Journal,
    spool: Spool,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("record", "entries"):
        monkeypatch.setattr(f"node.store.{module}.MAPPED_FROM", 0)
    monkeypatch.setattr("node.store.record.PIECE", 200)
    good, torn = commit(journal, _slice(1)), commit(journal, _slice(2))
    torn.write_bytes(torn.read_bytes()[:-1] + b"?")
    assert settler.settle([good, torn]) == {good: STORED, torn: KEPT_ASIDE}
    assert _bytes_of(spool, ledger, _slice(1)).endswith(bytes(_slice(1).data_set))
    assert _refusals(ledger) == ["spool-damaged"]


def test_a_batch_is_one_transaction_however_many_are_in_it(
    settler: Settler, journal: Journal, ledger: Ledger
) -> None:
    statements: list[str] = []
    event.listen(
        ledger.engine, "before_cursor_execute", lambda *found: statements.append(str(found[2]))
    )
    written = []
    for count in (1, 40):
        statements.clear()
        series = _series(count)
        settler.settle([commit(journal, incoming) for incoming in series])
        assert sum("INSERT INTO segnode_instances" in s for s in statements) == 1
        written.append(sum(s.startswith(("INSERT", "UPDATE")) for s in statements))
    assert written[1] <= written[0]


def test_a_long_list_is_settled_in_several_transactions(
    journal: Journal, spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.store.settle.BATCH", 3)
    told: list[int] = []
    settler = Settler(spool, ledger, ManualClock(), on_settled=told.append)
    paths = [commit(journal, incoming) for incoming in _series(7)]
    assert list(settler.settle(paths)) == paths
    assert told == [3, 3, 1]


def test_what_is_not_there_or_not_committed_is_left_out(
    settler: Settler, journal: Journal, ledger: Ledger
) -> None:
    path = commit(journal, an_incoming())
    half = journal.begin(_slice(2).arriving)
    half.write(b"half")
    unfinished = next(p for p in files_in(journal.folder) if p != path)
    assert settler.settle([path, unfinished]) == {path: STORED}
    assert settler.settle([path, unfinished]) == {}
    assert unfinished.exists()
    assert ledger.health.counts().instances == 1
    half.discard()


@pytest.mark.usefixtures("links")
def test_repeats_in_one_batch_and_in_a_later_one_are_told_apart(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    first = an_incoming()
    elsewhere = replace(first, calling_ae_title=AETitle("OTHER"))
    other = an_incoming(pixels=b"\x09\x09" * 32)
    syntax = replace(first, transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.4.90"))
    batch = [first, elsewhere, other, syntax]
    for expected in (
        [STORED, DUPLICATE, KEPT_ASIDE, KEPT_ASIDE],
        [DUPLICATE, DUPLICATE, KEPT_ASIDE, KEPT_ASIDE],
    ):
        paths = [commit(journal, incoming) for incoming in batch]
        assert list(settler.settle(paths).values()) == expected
        assert files_in(journal.folder) == []
        assert len(_kept_aside(spool)) == 2
    assert _bytes_of(spool, ledger, first).endswith(first.data_set)
    assert _refusals(ledger) == ["duplicate-differs"]
    assert any(p.read_bytes().endswith(other.data_set) for p in _kept_aside(spool))


@pytest.mark.usefixtures("links")
def test_a_uid_that_comes_again_in_another_study_stays_with_the_first(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    first, second = an_incoming(), an_incoming(StudyInstanceUID=f"{STUDY}.77")
    paths = [commit(journal, incoming) for incoming in (first, second)]
    assert list(settler.settle(paths).values()) == [STORED, KEPT_ASIDE]
    assert _bytes_of(spool, ledger, first).endswith(first.data_set)
    assert len(list((spool.root / "objects").rglob("*.dcm"))) == 1


def test_our_own_objects_are_not_kept(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    path = commit(journal, an_incoming(Manufacturer="Segnode"))
    assert settler.settle([path]) == {path: Admission.OURS}
    assert not path.exists()
    assert ledger.health.counts().instances == 0


def test_an_object_that_cannot_be_used_is_kept_aside_and_holds_up_nothing(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    odd = commit(journal, replace(_slice(1), data_set=b"GIF89a" * 40))
    good = commit(journal, _slice(2))
    assert settler.settle([odd, good]) == {odd: KEPT_ASIDE, good: STORED}
    assert files_in(journal.folder) == []
    (kept,) = _kept_aside(spool)
    assert b"GIF89a" in kept.read_bytes()
    assert _refusals(ledger) == ["not-dicom"]


def test_a_file_that_the_disk_altered_or_cannot_read_is_kept_aside(
    settler: Settler,
    journal: Journal,
    spool: Spool,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    altered, short, unreadable, good = (commit(journal, _slice(n)) for n in (1, 2, 3, 4))
    data = bytearray(altered.read_bytes())
    data[-5] ^= 1
    altered.write_bytes(data)
    os.truncate(short, 300)
    real = os.pread
    inode = unreadable.stat().st_ino

    def damaged(descriptor: int, size: int, position: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, size, position)

    monkeypatch.setattr(os, "pread", damaged)
    outcomes = settler.settle([altered, short, unreadable, good])
    assert list(outcomes.values()) == [KEPT_ASIDE, KEPT_ASIDE, KEPT_ASIDE, STORED]
    assert len(_kept_aside(spool)) == 3
    assert _refusals(ledger) == ["spool-damaged"] * 3
    assert files_in(journal.folder) == []


def test_an_object_that_the_database_cannot_hold_is_kept_aside_and_holds_up_nothing(
    settler: Settler,
    journal: Journal,
    spool: Spool,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ledger.intake.record_instances
    odd = _slice(2).sop_instance_uid

    def picky(batch: Sequence[Received], *, now: datetime) -> frozenset[SOPInstanceUID]:
        if any(received.instance.sop_instance_uid == odd for received in batch):
            raise RowRefused("The database cannot hold a value.")
        return real(batch, now=now)

    monkeypatch.setattr(ledger.intake, "record_instances", picky)
    paths = [commit(journal, incoming) for incoming in _series(3)]
    assert list(settler.settle(paths).values()) == [STORED, KEPT_ASIDE, STORED]
    assert files_in(journal.folder) == []
    assert len(_kept_aside(spool)) == 1
    assert len(list((spool.root / "objects").rglob("*.dcm"))) == 2
    assert _refusals(ledger) == ["row-refused"]


def test_a_calling_ae_title_that_is_none_is_written_down_as_what_can_be_shown(
    settler: Settler, journal: Journal, ledger: Ledger
) -> None:
    made_up = AETitle("A\0B\n\u00e9" + "x" * 40)
    path = commit(journal, replace(_slice(1), calling_ae_title=made_up))
    assert settler.settle([path]) == {path: STORED}
    with ledger.engine.connect() as connection:
        titles = connection.exec_driver_sql("SELECT calling_ae_title FROM segnode_instances")
        assert titles.scalars().all() == ["A?B??" + "x" * 11]


def test_a_file_that_cannot_be_read_just_now_is_not_taken_for_lost(
    settler: Settler,
    journal: Journal,
    spool: Spool,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settler.settle([commit(journal, an_incoming())])
    stored = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    assert stored is not None
    target, real = spool.path(stored.path), Path.open

    def busy(path: Path, *found: Any, **named: Any) -> Any:
        if path == target:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *found, **named)

    other = commit(journal, an_incoming(pixels=bytes(64)))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", busy)
        with pytest.raises(SpoolUnwritable, match="Too many open files"):
            settler.settle([other])
    assert settler.settle([other]) == {other: KEPT_ASIDE}
    assert _bytes_of(spool, ledger, an_incoming()).endswith(bytes(an_incoming().data_set))


def test_when_the_ledger_is_away_all_stays_in_the_journal_for_the_next_try(
    journal: Journal, spool: Spool, tmp_path: Path
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    settler = Settler(spool, ledger, ManualClock())
    paths = [commit(journal, incoming) for incoming in _series(3)]
    ledger.close()
    folder.rename(tmp_path / "away")
    with pytest.raises(LedgerUnavailable):
        settler.settle(paths)
    assert files_in(journal.folder) == paths
    (tmp_path / "away").rename(folder)
    assert settler.settle(paths) == dict.fromkeys(paths, STORED)
    ledger.close()


@pytest.mark.parametrize("call", ["link", "fsync", "mkdir", "open"])
def test_when_the_disk_is_full_all_stays_in_the_journal_for_the_next_try(
    settler: Settler,
    journal: Journal,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    def full(*_found: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = [commit(journal, incoming) for incoming in _series(3)]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(SpoolUnwritable, match="No space left"):
            settler.settle(paths)
    assert files_in(journal.folder) == paths
    assert ledger.health.counts().instances == 0
    assert settler.settle(paths) == dict.fromkeys(paths, STORED)


@pytest.mark.usefixtures("links")
def test_a_ledger_that_was_restored_from_an_older_copy_takes_what_lies_in_the_spool(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    first, other = an_incoming(), an_incoming(pixels=b"\x09\x09" * 32)
    settler.settle([commit(journal, first)])
    with ledger.engine.begin() as connection:
        for table in ("instances", "studies", "series", "revisions"):
            connection.exec_driver_sql(f"DELETE FROM segnode_{table}")
    path = commit(journal, other)
    assert settler.settle([path]) == {path: KEPT_ASIDE}
    assert _bytes_of(spool, ledger, first).endswith(first.data_set)


@pytest.mark.usefixtures("links")
def test_what_is_no_whole_object_at_the_place_of_an_instance_makes_way(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    settler.settle([commit(journal, an_incoming())])
    stored = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    assert stored is not None
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM segnode_instances")
    spool.path(stored.path).write_bytes(b"")
    path = commit(journal, an_incoming())
    assert settler.settle([path]) == {path: STORED}
    assert _bytes_of(spool, ledger, an_incoming()).endswith(an_incoming().data_set)


def test_orphaned_journals_are_settled_and_removed_and_living_ones_left_alone(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    here = commit(journal, _slice(1))
    gone = Journal(spool)
    gone.refill()
    for number in (2, 3):
        commit(gone, _slice(number))
    torn = commit(gone, _slice(4))
    os.truncate(torn, 500)
    gone.begin(_slice(5).arriving).write(b"half of it")
    gone.close()
    assert settler.recover() == 3
    assert ledger.health.counts().instances == 2
    assert _refusals(ledger) == ["spool-damaged"]
    assert orphans(spool) == []
    assert not gone.folder.exists()
    assert here.exists()
    assert settler.recover() == 0


def test_an_orphan_stays_whole_while_the_ledger_is_away(
    spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Journal(spool)
    path = commit(gone, an_incoming())
    gone.close()

    def away(*_found: object, **_named: object) -> None:
        raise LedgerUnavailable("The database does not answer.")

    settler = Settler(spool, ledger, ManualClock())
    with monkeypatch.context() as patch:
        patch.setattr(ledger.intake, "record_instances", away)
        with pytest.raises(LedgerUnavailable):
            settler.recover()
    assert path.exists()
    assert settler.recover() == 1


@pytest.mark.usefixtures("links")
def test_two_settlers_at_once_on_one_journal_settle_each_entry_once(
    ledger_url: str, journal: Journal, spool: Spool
) -> None:
    paths = [commit(journal, incoming) for incoming in _series(40)]
    ledgers = [open_ledger(ledger_url) for _ in range(4)]
    settlers = [Settler(Spool(spool.root), ledger, ManualClock()) for ledger in ledgers]
    with ThreadPoolExecutor(4) as pool:
        runs = [
            pool.submit(settler.settle, paths[k * 7 :] + paths[: k * 7])
            for k, settler in enumerate(settlers)
        ]
        outcomes = [run.result() for run in runs]
    assert set().union(*outcomes) == set(paths)
    assert {o for outcome in outcomes for o in outcome.values()} <= {STORED, DUPLICATE}
    assert ledgers[0].health.counts().instances == 40
    assert files_in(journal.folder) == []
    for incoming in _series(40):
        assert _bytes_of(spool, ledgers[0], incoming).endswith(incoming.data_set)
    for ledger in ledgers:
        ledger.close()


@pytest.mark.usefixtures("links")
def test_of_conflicting_objects_that_several_settle_at_once_one_stays_and_none_is_lost(
    ledger_url: str, spool: Spool, journal: Journal
) -> None:
    ledgers = [open_ledger(ledger_url) for _ in range(4)]
    objects = [
        [_slice(number, PixelData=bytes([who, who]) * 32) for number in range(1, 11)]
        for who in range(4)
    ]
    batches = [[commit(journal, incoming) for incoming in some] for some in objects]
    settlers = [Settler(Spool(spool.root), ledger, ManualClock()) for ledger in ledgers]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(s.settle, b) for s, b in zip(settlers, batches, strict=True)]
        outcomes = [run.result() for run in runs]
    ledger = ledgers[0]
    for number in range(10):
        of_one = [list(outcome.values())[number] for outcome in outcomes]
        # Without links, a file that another settler recorded looks like a repeat of itself.
        (first,) = (who for who in range(4) if of_one[who] is not KEPT_ASIDE)
        assert of_one[first] in {STORED, DUPLICATE}
        winner = objects[first][number]
        assert _bytes_of(spool, ledger, winner).endswith(winner.data_set)
    assert len(_kept_aside(spool)) == 30
    assert files_in(journal.folder) == []
    for opened in ledgers:
        opened.close()


def test_a_study_that_was_judged_complete_gets_its_next_revision_once_for_a_whole_batch(
    settler: Settler, journal: Journal, ledger: Ledger
) -> None:
    settler.settle([commit(journal, _slice(1))])
    with ledger.engine.begin() as connection:
        state = RevisionState.COMPLETE.value
        connection.exec_driver_sql(f"UPDATE segnode_revisions SET state = '{state}'")
    settler.settle([commit(journal, incoming) for incoming in _series(6)])
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert [revision.revision for revision in story.revisions] == [1, 2]
    assert ledger.health.counts().instances == 6


def test_what_was_stored_under_the_names_of_an_older_version_is_still_a_known_object(
    settler: Settler, journal: Journal, spool: Spool, ledger: Ledger
) -> None:
    settler.settle([commit(journal, an_incoming())])
    stored = ledger.intake.find_instance(an_incoming().sop_instance_uid)
    assert stored is not None
    old = stored.path.replace(".dcm", "-0123abcd.dcm")
    spool.path(stored.path).rename(spool.path(old))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE segnode_instances SET path = '{old}'")
    same, other = commit(journal, an_incoming()), commit(journal, an_incoming(pixels=bytes(64)))
    assert settler.settle([same, other]) == {same: DUPLICATE, other: KEPT_ASIDE}
    spool.path(old).unlink()
    path = commit(journal, an_incoming())
    assert settler.settle([path]) == {path: DUPLICATE}
    assert _bytes_of(spool, ledger, an_incoming()).endswith(an_incoming().data_set)


def test_an_instance_of_nobody_known_has_no_calling_ae_title(
    settler: Settler, journal: Journal, ledger: Ledger
) -> None:
    settler.settle([commit(journal, replace(an_incoming(), calling_ae_title=AETitle("")))])
    assert ledger.intake.find_instance(SOPInstanceUID(f"{SERIES}.1")) is not None
    assert SCANNER not in _refusals(ledger)
