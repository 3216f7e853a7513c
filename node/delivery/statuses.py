"""What a C-STORE status means for a delivery (PS3.4 Table B.2-1, PS3.7 Annex C)."""

from node.domain.errors import DestinationRefused, DestinationUnreachable
from node.domain.states import DeliveryState
from node.domain.study import Reason
from node.net.scu import NO_CONTEXT

SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111
SOP_CLASS_NOT_SUPPORTED = 0x0122


def _is_warning(status: int) -> bool:
    return status == DUPLICATE_SOP_INSTANCE or 0xB000 <= status <= 0xBFFF


def _is_out_of_resources(status: int) -> bool:
    return 0xA700 <= status <= 0xA7FF


def judge_status(status: int | None, error: str | None) -> tuple[DeliveryState, Reason]:
    """Turn an answer into the delivery's next state and a reason.

    status is None when there was no answer; error then says why. A warning means that the
    object is there. Out of resources passes by itself; every other failure does not, and no
    more does an archive that offers no presentation context for the object.
    """
    if status is None and error == NO_CONTEXT:
        return DeliveryState.REFUSED, Reason(code=DestinationRefused.code, text=NO_CONTEXT)
    if status is None:
        text = error or "no answer"
        return DeliveryState.RETRY, Reason(code=DestinationUnreachable.code, text=text)
    if status == SUCCESS:
        return DeliveryState.SENT, Reason(code="ok", text="accepted")
    if _is_warning(status):
        return DeliveryState.SENT, Reason(code="ok", text=f"accepted with warning {status:#06x}")
    if _is_out_of_resources(status):
        text = f"out of resources, status {status:#06x}"
        return DeliveryState.RETRY, Reason(code=DestinationRefused.code, text=text)
    text = f"refused with status {status:#06x}"
    return DeliveryState.REFUSED, Reason(code=DestinationRefused.code, text=text)
