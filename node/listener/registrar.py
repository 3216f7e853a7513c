"""Answers, beside the ledger, what receivers ask for modalities: MPPS and storage commitment."""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from node.domain.clock import Clock
from node.domain.errors import SegnodeError, SiteFault
from node.domain.ids import (
    AETitle,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
)
from node.listener.callback import Callback, CallbackPlan, failures
from node.listener.commitment import CommitmentAsked, CommitmentTold, ObjectsLookedUp
from node.listener.mpps import Images, StepChanged, StepCreated
from node.listener.parcels import Parcels
from node.listener.requests import (
    DUPLICATE_INSTANCE,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
    Body,
)
from node.net.scu import Peer
from node.store.commitments import Commitment
from node.store.evidence import StepChange
from node.store.ledger import Ledger
from node.store.spool import Spool

logger: Final = logging.getLogger(__name__)

MAY_NO_LONGER_BE_UPDATED: Final = 0xA506
"""Error ID beside a processing failure (PS3.4 table F.7.2-2)."""

NOTHING: Final[Mapping[AETitle, Peer]] = MappingProxyType({})


class Registrar:
    """Answers the messages of node/listener/mpps.py and commitment.py; safe for many threads.

    peers: where to call back, by AE title. settling: whether acknowledged instances are still
    on their way to the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        clock: Clock,
        *,
        peers: Mapping[AETitle, Peer] = NOTHING,
        settling: Callable[[], bool] = lambda: False,
        plan: CallbackPlan | None = None,
    ) -> None:
        self._ledger: Final = ledger
        self._spool: Final = spool
        self._clock: Final = clock
        self._peers: Final = peers
        self._settling: Final = settling
        self._plan: Final = plan or CallbackPlan()
        self._parcels: Final = Parcels()
        self._callback: Final = Callback(
            ledger, spool, clock, peers=peers, settling=settling, plan=self._plan
        )

    def run(self, stop: threading.Event) -> None:
        """Call modalities back until `stop` is set and `wake` called."""
        self._callback.run(stop)

    def wake(self) -> None:
        """Let `run` look whether there is something to do, or that it is to stop."""
        self._callback.wake()

    def answer_due(self) -> int:
        """Call back each modality that is due, once; return how many requests it were.

        Raises LedgerUnavailable.
        """
        return self._callback.answer_due()

    def answer(self, message: Body) -> Body:
        """Answer a message, never raising: `status` is of PS3.7 annex C."""
        try:
            whole = self._parcels.accept(message)
            return {"status": SUCCESS} if whole is None else self._answer(whole)
        except SiteFault as fault:
            logger.warning("a modality is asked to try again", extra={"code": fault.code})
            return {"status": RESOURCE_LIMITATION}
        except Exception as error:  # noqa: BLE001 - the edge: the modality must get an answer
            code = error.code if isinstance(error, SegnodeError) else type(error).__name__
            logger.error("a message was not answered", extra={"code": code})  # noqa: TRY400
            return {"status": PROCESSING_FAILURE}

    def _answer(self, body: Body) -> Body:
        match body["kind"]:
            case StepCreated.KIND:
                return self._create(StepCreated.from_json(body))
            case StepChanged.KIND:
                return self._change(StepChanged.from_json(body))
            case CommitmentAsked.KIND:
                return self._open(CommitmentAsked.from_json(body))
            case ObjectsLookedUp.KIND:
                return self._look_up(ObjectsLookedUp.from_json(body))
            case CommitmentTold.KIND:
                return self._told(CommitmentTold.from_json(body))
            case _:
                raise ValueError("a message of an unknown kind")

    def _create(self, message: StepCreated) -> Body:
        created = self._ledger.procedure_steps.create(
            SOPInstanceUID(message.sop_instance_uid),
            StudyInstanceUID(message.study_instance_uid),
            _typed(message.images),
            calling_ae_title=AETitle(message.calling_ae_title),
            now=self._clock.now(),
        )
        return {"status": SUCCESS if created else DUPLICATE_INSTANCE}

    def _change(self, message: StepChanged) -> Body:
        change = self._ledger.procedure_steps.update(
            SOPInstanceUID(message.sop_instance_uid),
            state=message.state,
            images=None if message.images is None else _typed(message.images),
            now=self._clock.now(),
        )
        if change is StepChange.ENDED:
            return {"status": PROCESSING_FAILURE, "error_id": MAY_NO_LONGER_BE_UPDATED}
        return {"status": SUCCESS if change is StepChange.UPDATED else NO_SUCH_INSTANCE}

    def _open(self, message: CommitmentAsked) -> Body:
        now = self._clock.now()
        self._ledger.commitments.open(
            Commitment(
                transaction_uid=message.transaction_uid,
                calling_ae_title=AETitle(message.calling_ae_title),
                address=message.address,
                objects=tuple((SOPClassUID(c), SOPInstanceUID(i)) for c, i in message.objects),
            ),
            now=now,
            next_at=now + timedelta(seconds=self._plan.grace_s),
        )
        self.wake()
        return {"status": SUCCESS}

    def _look_up(self, message: ObjectsLookedUp) -> Body:
        settling = self._settling()  # before the look: what arrives between the two is seen
        return failures(message.objects, self._ledger, self._spool, settling=settling).to_json()

    def _told(self, message: CommitmentTold) -> Body:
        """Close a request that was answered, or have it answered by calling back, at once."""
        key = message.transaction_uid, AETitle(message.calling_ae_title)
        if message.was_taken:
            self._ledger.commitments.answered(*key)
        else:
            self._ledger.commitments.postpone(*key, until=self._clock.now(), attempts=0)
            self.wake()
        return {"status": SUCCESS}


def _typed(images: Images) -> dict[SeriesInstanceUID, tuple[SOPInstanceUID, ...]]:
    return {
        SeriesInstanceUID(series): tuple(map(SOPInstanceUID, uids))
        for series, uids in images.items()
    }
