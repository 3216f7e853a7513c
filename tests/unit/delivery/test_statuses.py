"""What a destination's answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.delivery.statuses import judge_status
from node.domain.states import DELIVERY_TRANSITIONS, DeliveryState
from node.net.scu import NO_CONTEXT


@pytest.mark.parametrize("status", [0x0000, 0x0111, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_mean_that_the_object_is_there(status: int) -> None:
    assert judge_status(status, None)[0] is DeliveryState.SENT


@pytest.mark.parametrize("status", [0xA700, 0xA701, None])
def test_a_full_or_silent_archive_is_tried_again(status: int | None) -> None:
    assert judge_status(status, None)[0] is DeliveryState.RETRY


@pytest.mark.parametrize("status", [0x0122, 0x0124, 0xA900, 0xC000, 0x0110])
def test_an_archive_that_will_never_take_it_is_not_tried_again(status: int) -> None:
    state, reason = judge_status(status, None)
    assert state is DeliveryState.REFUSED
    assert f"{status:#06x}" in reason.text


def test_an_archive_without_a_context_for_the_object_is_not_tried_again() -> None:
    assert judge_status(None, NO_CONTEXT)[0] is DeliveryState.REFUSED


@given(st.integers(0, 0xFFFF))
def test_every_status_leads_to_a_state_that_a_pending_delivery_may_take(status: int) -> None:
    state, reason = judge_status(status, None)
    assert state in DELIVERY_TRANSITIONS[DeliveryState.PENDING]
    assert reason.text
