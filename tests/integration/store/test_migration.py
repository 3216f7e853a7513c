"""A ledger that an older Segnode wrote goes on as it is, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, inspect, text

from node.dicom.part10 import part10_head
from node.domain.errors import ConfigurationInvalid
from node.domain.ids import Sha256, SOPInstanceUID
from node.domain.states import RevisionState
from node.store import codec, migrations, schema
from node.store.admit import Admission, Admitter, Incoming
from node.store.database import migrate, open_engine
from node.store.ledger import Ledger, open_ledger
from node.store.spool import Spool
from tests.support.ledger_values import (
    SERIES,
    STUDY,
    ManualClock,
    a_delivery,
    a_header,
    an_incoming,
    an_order,
    at,
)

OLD_PATH = "objects/ab/study/series/0123-abcdef01.dcm"


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    opened = open_engine(ledger_url)
    yield opened
    opened.dispose()


def _make_version(engine: Engine, version: int) -> None:
    """Make the tables as the first `version` steps do, as an older Segnode would have."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE segnode_migrations (version INTEGER PRIMARY KEY)"))
        for step in range(1, version + 1):
            for statement in migrations.statements(step, engine.dialect.name):
                connection.execute(text(statement))
            connection.execute(text(f"INSERT INTO segnode_migrations VALUES ({step})"))


def _write_old_file(spool: Spool, incoming: Incoming) -> tuple[Sha256, int]:
    """Write the file of an instance as version 1 did: another name, an empty preamble."""
    head = part10_head(
        sop_class_uid=incoming.sop_class_uid,
        sop_instance_uid=incoming.sop_instance_uid,
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        source_ae_title=incoming.calling_ae_title,
    )
    return spool.write_new(OLD_PATH, lambda target: _write_both(target, head, incoming))


def _write_both(target: object, head: bytes, incoming: Incoming) -> None:
    target.write(head + bytes(incoming.data_set))  # type: ignore[attr-defined]  # a file


def _fill(engine: Engine, spool: Spool) -> None:
    """Have one instance, its study and one delivery in a ledger of version 1."""
    incoming, header, order = an_incoming(), a_header(), an_order()
    sha256, size = _write_old_file(spool, incoming)
    delivery = a_delivery(order)
    with engine.begin() as connection:
        connection.execute(
            insert(schema.studies).values(
                study_instance_uid=STUDY,
                revision=1,
                instances=1,
                size_bytes=size,
                first_received_at=at(0),
                last_received_at=at(0),
            )
        )
        connection.execute(
            insert(schema.revisions).values(
                study_instance_uid=STUDY,
                revision=1,
                state=RevisionState.WAITING.value,
                opened_at=at(0),
                changed_at=at(0),
                next_look_at=at(60),
            )
        )
        connection.execute(
            insert(schema.series).values(
                study_instance_uid=STUDY,
                series_instance_uid=SERIES,
                header_key="0000000001",
                header=codec.dumps(header),
            )
        )
        connection.execute(
            insert(schema.deliveries).values(
                analysis_id=delivery.analysis_id,
                destination=delivery.destination,
                sop_instance_uid=delivery.sop_instance_uid,
                kind=delivery.kind,
                path=delivery.path,
                state=delivery.state.value,
                attempts=0,
                changed_at=at(0),
            )
        )
        connection.execute(
            text(
                "INSERT INTO segnode_instances VALUES (:sop, :series, :study, 1, :sop_class, "
                ":syntax, :path, :sha256, :content, :size, :planes, 'OLD', :at)"
            ),
            {
                "sop": incoming.sop_instance_uid,
                "series": SERIES,
                "study": STUDY,
                "sop_class": incoming.sop_class_uid,
                "syntax": incoming.transfer_syntax_uid,
                "path": OLD_PATH,
                "sha256": sha256,
                "content": "c" * 64,
                "size": size,
                "planes": codec.pack_planes(header.planes),
                "at": at(0).isoformat(sep=" ").removesuffix("+00:00"),
            },
        )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def ledger(engine: Engine, ledger_url: str, spool: Spool) -> Iterator[Ledger]:
    """Return a ledger that began as version 1, with data, and was opened by this version."""
    _make_version(engine, 1)
    _fill(engine, spool)
    opened = open_ledger(ledger_url)
    yield opened
    opened.close()


def test_what_an_older_version_wrote_is_all_there(ledger: Ledger, spool: Spool) -> None:
    stored = ledger.intake.find_instance(SOPInstanceUID(f"{SERIES}.1"))
    assert stored is not None
    assert stored.path == OLD_PATH
    assert stored.planes == a_header().planes
    assert spool.read(stored.path, stored.sha256).endswith(bytes(an_incoming().data_set))
    story = ledger.stories.story(STUDY)
    assert story is not None
    assert story.current.state is RevisionState.WAITING
    assert ledger.studies.evidence(STUDY, at(30)).series[0].instances == 1


def test_the_columns_and_tables_are_those_of_this_version(ledger: Ledger) -> None:
    found = inspect(ledger.engine)
    names = {c["name"] for c in found.get_columns("segnode_instances")}
    assert names == {c.name for c in schema.instances.columns}
    assert {t.name for t in schema.metadata.sorted_tables} <= set(found.get_table_names())
    with ledger.engine.connect() as connection:
        seen = connection.execute(text("SELECT seen_at FROM segnode_deliveries")).scalars().all()
    assert seen == [None]


def test_a_repeat_of_what_an_older_version_stored_is_known_as_such(
    ledger: Ledger, spool: Spool
) -> None:
    admitter = Admitter(spool, ledger, ManualClock())
    assert admitter.admit(an_incoming()) is Admission.DUPLICATE
    assert admitter.admit(an_incoming(pixels=bytes(64))) is Admission.KEPT_ASIDE
    assert admitter.admit(an_incoming(2, SOPInstanceUID=f"{SERIES}.2")) is Admission.STORED
    assert ledger.health.counts().instances == 2
    admitter.close()


def test_migrating_again_changes_nothing_and_a_newer_ledger_is_refused(
    ledger: Ledger, engine: Engine
) -> None:
    assert migrate(engine) == len(migrations.MIGRATIONS)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO segnode_migrations VALUES (999)"))
    with pytest.raises(ConfigurationInvalid, match="newer Segnode"):
        migrate(engine)
