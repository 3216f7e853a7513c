"""Each error of the tree has the status made for it."""

import pytest

from node.domain import errors
from node.domain.errors import SegnodeError
from node.listener.statuses import STATUS_OF_ADMISSION, status_of
from node.store.admit import Admission


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.NotDicom, 0xC000),
        (errors.MissingIdentifier, 0xA900),
        (errors.UnsupportedSopClass, 0x0122),
        (errors.DuplicateDiffers, 0x0111),
        (errors.ObjectTooLarge, 0xA700),
        (errors.Overloaded, 0xA700),
        (errors.SpoolUnwritable, 0xA700),
        (errors.SpoolDamaged, 0xA700),
        (errors.LedgerUnavailable, 0xA700),
        (errors.ConfigurationInvalid, 0xA700),
        (errors.RefusedInput, 0xC000),
        (errors.OwnFault, 0x0110),
        (errors.PeerFault, 0x0110),
    ],
)
def test_an_error_tells_the_sender_whose_fault_it_is(kind: type[SegnodeError], status: int) -> None:
    assert status_of(kind("why")) == status


def test_no_error_of_the_tree_is_without_a_failure_status() -> None:
    def descend(kind: type[SegnodeError]) -> list[type[SegnodeError]]:
        return [kind, *(k for child in kind.__subclasses__() for k in descend(child))]

    for kind in descend(SegnodeError):
        status = status_of(kind("why"))
        assert status != 0
        assert status >> 12 != 0xB  # warnings mean that the object was stored


def test_every_admission_has_a_status() -> None:
    assert set(STATUS_OF_ADMISSION) == set(Admission)
    assert STATUS_OF_ADMISSION[Admission.STORED] == 0
    assert STATUS_OF_ADMISSION[Admission.DUPLICATE] == 0
    assert STATUS_OF_ADMISSION[Admission.KEPT_ASIDE] == 0x0111
