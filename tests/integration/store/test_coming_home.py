"""Results of our own that an archive sends back to us."""

from pathlib import Path

from node.app.cli.story import story_lines
from node.store.admit import Admission, Admitter
from node.store.ledger import Ledger
from node.store.spool import Spool
from tests.support.ledger_values import (
    STUDY,
    ManualClock,
    a_delivery,
    an_incoming,
    complete,
    receive_series,
)


def test_a_result_that_comes_home_is_seen_and_nothing_else(ledger: Ledger, tmp_path: Path) -> None:
    receive_series(ledger)
    order = complete(ledger)
    came = an_incoming(700, Manufacturer="Segnode")
    planned = a_delivery(order, sop=came.sop_instance_uid)
    ledger.deliveries.plan([planned, a_delivery(order, sop="2.25.2")])
    before = ledger.stories.story(STUDY)
    clock = ManualClock()
    admitter = Admitter(Spool(tmp_path), ledger, clock)
    assert admitter.admit(came) is Admission.OURS
    assert admitter.admit(came) is Admission.OURS
    after = ledger.stories.story(STUDY)
    assert before is not None
    assert after is not None
    assert (after.instances, after.revisions, after.refusals) == (
        before.instances,
        before.revisions,
        before.refusals,
    )
    seen = {d.sop_instance_uid: d.seen_at for d in after.analyses[0].deliveries}
    assert seen == {came.sop_instance_uid: clock.now(), "2.25.2": None}
    assert any("seen in the archive: 1 of 2 SEG" in line for line in story_lines(after))
    admitter.close()
