"""An `admit` for tests of the ways in."""

from node.store.admit import Admission, Incoming


class Recorder:
    """Keeps what comes, and answers or raises as it is told."""

    def __init__(self, outcome: Admission | Exception = Admission.STORED) -> None:
        self.came: list[Incoming] = []
        self.outcome = outcome

    def __call__(self, incoming: Incoming) -> Admission:
        self.came.append(incoming)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome
