"""The story of a study, as lines that an administrator reads."""

from dataclasses import replace
from datetime import UTC, datetime

from node.app.cli.story import decision_lines, delivery_lines, refusal_lines, stage_lines, table
from node.domain.ids import (
    AETitle,
    AnalysisId,
    DestinationName,
    RuleName,
    SeriesInstanceUID,
    Sha256,
    SOPInstanceUID,
)
from node.domain.regions import Role
from node.domain.states import DeliveryState, RevisionState
from node.domain.study import (
    Candidate,
    CompletionDecision,
    DeliveryRecord,
    Reason,
    Refusal,
    RoleChoice,
    RoleDecision,
    StepRecord,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SERIES = SeriesInstanceUID("1.2.3")


def a_choice(*, chosen: bool) -> RoleChoice:
    candidate = Candidate(
        series_instance_uid=SERIES,
        series_number=4,
        series_description="t1_mprage",
        score=3.0,
        reasons=("its name says T1", "a contrast agent was given"),
    )
    return RoleChoice(
        role=Role.T1C,
        chosen=SERIES if chosen else None,
        reason=Reason(code="ok" if chosen else "slice-gap", text="1 slice missing"),
        candidates=(candidate,),
    )


def a_decision(*, chosen: bool) -> CompletionDecision:
    return CompletionDecision(
        state=RevisionState.COMPLETE,
        reason=Reason(code="ok", text="all here"),
        evidence=("quiet for 61 s, limit 60 s",),
        roles=RoleDecision(
            rule=RuleName("glioma"),
            rule_sha256=Sha256("0" * 64),
            choices=(a_choice(chosen=chosen),),
            required=(Role.T1C,),
        ),
    )


def a_delivery(state: DeliveryState, number: int) -> DeliveryRecord:
    return DeliveryRecord(
        analysis_id=AnalysisId("a"),
        destination=DestinationName("pacs"),
        sop_instance_uid=SOPInstanceUID(f"1.{number}"),
        kind="OVERLAY",
        path="work/a/x.dcm",
        state=state,
        status=0,
        attempts=1,
        reason=Reason(code="ok", text="accepted"),
        changed_at=NOW,
    )


def test_a_chosen_series_is_told_with_its_reasons() -> None:
    text = "\n".join(decision_lines(a_decision(chosen=True)))
    assert "T1C   series 4 't1_mprage': its name says T1; a contrast agent was given" in text


def test_a_missing_role_is_told_with_its_code() -> None:
    text = "\n".join(decision_lines(a_decision(chosen=False)))
    assert "T1C   none: 1 slice missing [slice-gap]" in text


def test_the_evidence_is_told() -> None:
    assert "evidence: quiet for 61 s, limit 60 s" in list(decision_lines(a_decision(chosen=True)))


def test_alike_deliveries_are_told_together() -> None:
    lines = list(delivery_lines([a_delivery(DeliveryState.SENT, n) for n in range(60)]))
    assert len(lines) == 2
    assert "60 SENT" in lines[1]


def test_what_is_sent_is_not_called_proven() -> None:
    assert "not proven" in list(delivery_lines([a_delivery(DeliveryState.SENT, 1)]))[1]


def test_what_an_archive_sent_back_is_told_by_kind_and_once_an_object() -> None:
    seen = replace(a_delivery(DeliveryState.SENT, 1), seen_at=NOW)
    again = replace(seen, destination=DestinationName("research"))
    others = [a_delivery(DeliveryState.SENT, number) for number in (2, 3)]
    told = list(delivery_lines([seen, again, *others]))[-1].strip()
    assert told == "seen in the archive: 1 of 3 OVERLAY, first at 2026-11-21 12:00:00 UTC"


def test_where_nothing_came_back_nothing_is_said_of_it() -> None:
    lines = delivery_lines([a_delivery(DeliveryState.SENT, 1)])
    assert not any("seen" in line for line in lines)


def test_stages_are_told_with_their_times_and_sum() -> None:
    steps = (
        StepRecord(
            step="assemble", started_at=NOW, seconds=1.25, summary={"T1": {"shape": [2, 3]}}
        ),
        StepRecord(step="infer", started_at=NOW, seconds=None, summary={}),
    )
    lines = list(stage_lines(steps))
    assert lines[1].split() == ["assemble", "1.2", "s", "T1", "shape=2x3"]
    assert lines[2].split() == ["infer", "running"]
    assert lines[3].strip() == "all stages 1.2 s"


def test_alike_refusals_are_counted() -> None:
    refusal = Refusal(
        study_instance_uid=None,
        sop_instance_uid=None,
        calling_ae_title=AETitle("MR1"),
        reason=Reason(code="not-dicom", text="no data set"),
        at=NOW,
    )
    assert list(refusal_lines([refusal] * 3)) == [
        "not taken: 3",
        "  3 x not-dicom from MR1: no data set",
    ]


def test_a_table_without_rows_is_no_line() -> None:
    assert list(table([])) == []
