"""A gate at which pynetdicom's reactor thread really stands still before a message is sent.

The stock association clears an event and then looks at a flag that the reactor sets before it
waits and takes back after. A reactor that has just passed the gate may still have the flag up;
it then takes the answer to our request off the queue ("unexpected C-STORE service message") and
the sender waits for it until its timeout. Seen under load in two of some 20 sends.
"""

import threading
from typing import Any, Final

from pynetdicom.association import Association

LOOK_S: Final = 0.05


class Checkpoint:
    """Stands for the `threading.Event` of an association; open in the beginning."""

    def __init__(self, reactor: threading.Thread) -> None:
        self._reactor: Final = reactor
        self._condition: Final = threading.Condition()
        self._is_open = True
        self._rests = False

    def is_set(self) -> bool:
        """Whether the reactor may run."""
        return self._is_open

    def set(self) -> None:
        """Let the reactor run."""
        with self._condition:
            self._is_open = True
            self._condition.notify_all()

    def clear(self) -> None:
        """Close the gate and return when the reactor stands before it, or has ended."""
        with self._condition:
            self._is_open = False
            if threading.current_thread() is self._reactor:
                return
            while not (self._rests or self._is_open) and self._reactor.is_alive():
                self._condition.wait(LOOK_S)

    def wait(self) -> None:
        """Pass the gate, or stand before it until it is opened; for the reactor."""
        with self._condition:
            self._rests = not self._is_open
            self._condition.notify_all()
            while not self._is_open:
                self._condition.wait()
            self._rests = False


class GuardedAssociation(Association):  # type: ignore[misc]
    """An association with such a gate; a closed one says all that the stock flag would say.

    The flag is also taken back by the thread that serves an N-EVENT-REPORT, and who then waits
    for it while the reactor stands before the gate waits for ever.
    """

    @property
    def _is_paused(self) -> bool:
        return True

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass


def guard(association: Any) -> None:
    """Give an association that we request a gate of this kind, before its reactor runs."""
    association._reactor_checkpoint = Checkpoint(association)  # noqa: SLF001 - no public place
    # AE.associate offers no place to name another class.
    association.__class__ = GuardedAssociation
