"""The gate before pynetdicom's reactor holds, also for a reactor that has just passed it."""

import threading

from pynetdicom import AE
from pynetdicom.association import Association

from node.net.checkpoint import Checkpoint, guard


class Reactor(threading.Thread):
    """Passes the gate and counts, as fast as it can."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gate = Checkpoint(self)
        self.count = 0
        self.ends = False

    def run(self) -> None:
        while not self.ends:
            self.gate.wait()
            self.count += 1


def test_no_reactor_moves_behind_a_closed_gate() -> None:
    reactor = Reactor()
    reactor.start()
    for _ in range(2000):
        reactor.gate.clear()
        before = reactor.count
        for _ in range(20):
            assert reactor.count == before
        reactor.gate.set()
    reactor.ends = True
    reactor.join(10)
    assert not reactor.is_alive()


def test_an_opened_gate_lets_the_reactor_on() -> None:
    reactor = Reactor()
    reactor.start()
    reactor.gate.clear()
    before = reactor.count
    reactor.gate.set()
    while reactor.count == before:
        assert reactor.is_alive()
    reactor.ends = True
    reactor.join(10)


def test_closing_does_not_wait_for_a_reactor_that_has_ended() -> None:
    reactor = Reactor()
    reactor.ends = True
    reactor.start()
    reactor.join(10)
    reactor.gate.clear()
    assert not reactor.gate.is_set()


def test_a_reactor_may_close_its_own_gate() -> None:
    gates: list[Checkpoint] = []

    def close_it() -> None:
        gates[0].clear()

    thread = threading.Thread(target=close_it)
    gates.append(Checkpoint(thread))
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_who_stands_at_a_closed_gate_is_paused_whatever_another_thread_says() -> None:
    association = Association(AE(), "requestor")
    assert "_is_paused" in vars(association)
    guard(association)
    association._is_paused = False  # as after an N-EVENT-REPORT
    assert association._is_paused
    assert isinstance(association._reactor_checkpoint, Checkpoint)
