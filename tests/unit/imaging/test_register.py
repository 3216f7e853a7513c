import numpy as np
import pytest

from node.domain.errors import MirroredSeries, RegistrationFailed
from node.domain.regions import Role
from node.imaging.register import Gate, Registration, register, register_all
from node.imaging.volume import Affine, Grid, Volume
from tests.support.mr_series import AXIAL, SAGITTAL, a_grid, tilted
from tests.unit.imaging.cases import a_head, error_mm, moved, scanned

CENTRE = (4.0, -10.0, 20.0)
FINE = a_grid((108, 132, 124), axes=SAGITTAL, spacing_mm=(1.5, 1.5, 1.5), centre_mm=CENTRE)
THICK = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=CENTRE)
OBLIQUE = a_grid(
    (32, 180, 160), axes=tilted(AXIAL, 15.0), spacing_mm=(5.0, 1.1, 1.1), centre_mm=CENTRE
)
STILL = np.eye(4)
SLIGHT = moved((1.0, 0.0, 0.5), (0.5, 1.0, -0.5))
STRONG = moved((5.0, -4.0, 3.0), (6.0, -8.0, 5.0))


def registered(
    contrast: str, grid: Grid, truth: Affine, *, same_frame: bool = True, stripped: bool = False
) -> Registration:
    fixed = scanned(a_head("T1C", stripped=stripped), FINE)
    moving = scanned(a_head(contrast, stripped=stripped), grid, truth)
    return register(moving, fixed, same_frame=same_frame)


@pytest.mark.parametrize("grid", [FINE, THICK], ids=["3D sagittal", "2D axial"])
@pytest.mark.parametrize("contrast", [pytest.param("T1", marks=pytest.mark.slow), "FLAIR"])
def test_a_head_that_moved_is_found(contrast: str, grid: Grid) -> None:
    found = registered(contrast, grid, STRONG)
    assert error_mm(found.matrix, STRONG) < 0.3
    assert found.gate == Gate.ALIGNED
    assert found.findings == ()
    assert found.metric > found.start_metric
    assert found.moved_mm > 8.0


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(FINE, id="sagittal", marks=pytest.mark.slow),
        pytest.param(THICK, id="axial"),
        pytest.param(OBLIQUE, id="oblique", marks=pytest.mark.slow),
    ],
)
def test_a_head_that_did_not_move_stays_exactly_where_it_is(grid: Grid) -> None:
    found = registered("T2", grid, STILL)
    assert np.array_equal(found.matrix, STILL)
    assert found.gate == Gate.HEADER
    assert found.moved_mm == 0.0


def test_a_stripped_head_that_did_not_move_stays_where_it_is() -> None:
    found = registered("T2", THICK, STILL, stripped=True)
    assert np.array_equal(found.matrix, STILL)


@pytest.mark.slow
def test_a_slight_movement_is_found_where_it_matters() -> None:
    assert error_mm(registered("T2", THICK, SLIGHT).matrix, SLIGHT) < 0.3


@pytest.mark.slow
def test_frames_of_reference_that_differ_are_brought_together() -> None:
    far = moved((5.0, -4.0, 3.0), (140.0, -90.0, 60.0))
    grid = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(144.0, -100.0, 80.0))
    found = registered("FLAIR", grid, far, same_frame=False)
    assert error_mm(found.matrix, far) < 0.3
    assert found.gate == Gate.ALIGNED


def test_a_wrong_claim_of_one_frame_of_reference_is_seen_through() -> None:
    far = moved((5.0, -4.0, 3.0), (70.0, -90.0, 60.0))
    grid = a_grid((30, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(74.0, -100.0, 80.0))
    found = registered("FLAIR", grid, far, same_frame=True)
    assert error_mm(found.matrix, far) < 0.3
    assert [finding.code for finding in found.findings] == ["moved-far"]


@pytest.mark.parametrize(
    "degrees",
    [
        pytest.param((0.0, 0.0, 180.0), id="prone"),
        pytest.param((10.0, 15.0, 45.0), id="turned aside", marks=pytest.mark.slow),
    ],
)
def test_a_head_that_the_header_turns_is_found_from_other_starts(
    degrees: tuple[float, float, float],
) -> None:
    truth = moved(degrees, (4.0, -3.0, 2.0))
    found = registered("T1", THICK, truth)
    assert error_mm(found.matrix, truth) < 0.3


def test_a_series_that_shows_a_tenth_of_the_head_is_refused() -> None:
    edge = a_grid((4, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(4.0, -10.0, 82.0))
    with pytest.raises(RegistrationFailed, match="are needed"):
        registered("T2", edge, STILL)


def test_of_several_series_the_mirrored_one_is_named() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    moving = {
        Role.T1: scanned(a_head("T1"), THICK, STRONG),
        Role.T2: scanned(a_head("T2"), THICK, SLIGHT),
    }
    moving[Role.T2] = moving[Role.T2].with_array(moving[Role.T2].array[:, :, ::-1])
    with pytest.raises(MirroredSeries, match="exchanged in the T2 series"):
        register_all(moving, fixed, same_frame=dict.fromkeys(moving, True), threads=2)


def test_a_mirrored_reference_is_suspected_when_all_others_disagree() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    fixed = fixed.with_array(fixed.array[::-1])
    moving = {
        Role.T1: scanned(a_head("T1"), THICK, STRONG),
        Role.FLAIR: scanned(a_head("FLAIR"), THICK, SLIGHT),
    }
    with pytest.raises(MirroredSeries, match="reference itself"):
        register_all(moving, fixed, same_frame=dict.fromkeys(moving, True), threads=2)


def test_the_number_of_threads_changes_nothing() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    moving = {
        Role.T1: scanned(a_head("T1"), THICK, STRONG),
        Role.FLAIR: scanned(a_head("FLAIR"), FINE, SLIGHT),
    }
    frames = {Role.T1: True, Role.FLAIR: True}
    one = register_all(moving, fixed, same_frame=frames, threads=1)
    many = register_all(moving, fixed, same_frame=frames, threads=3)
    assert list(one) == list(many) == list(moving)
    alone = register(moving[Role.T1], fixed, same_frame=True)
    for found, other in [*((one[role], many[role]) for role in moving), (one[Role.T1], alone)]:
        assert np.array_equal(found.matrix, other.matrix)
        assert (found.metric, found.sidedness) == (other.metric, other.sidedness)


def test_the_failing_series_of_several_is_named() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    moving = {
        Role.T1: scanned(a_head("T1"), THICK),
        Role.FLAIR: Volume(array=np.zeros(THICK.shape, dtype=np.float32), grid=THICK),
    }
    with pytest.raises(RegistrationFailed, match="FLAIR"):
        register_all(moving, fixed, same_frame=dict.fromkeys(moving, True), threads=2)


def test_a_slab_of_the_head_is_registered_and_named_partial() -> None:
    slab = a_grid((13, 180, 160), spacing_mm=(5.0, 1.1, 1.1), centre_mm=(4.0, -10.0, 30.0))
    found = registered("T2", slab, STRONG)
    assert found.gate == Gate.PARTIAL
    assert [finding.code for finding in found.findings] == ["head-partly-seen"]
    assert found.overlap < 0.8
    assert error_mm(found.matrix, STRONG) < 0.6


@pytest.mark.slow
def test_the_same_input_gives_the_same_answer() -> None:
    first, second = registered("FLAIR", THICK, STRONG), registered("FLAIR", THICK, STRONG)
    assert np.abs(first.matrix - second.matrix).max() < 1e-6


def test_series_cut_out_of_one_background_are_taken_as_registered() -> None:
    fixed, moving = a_head("T1C", stripped=True), a_head("FLAIR", stripped=True)
    found = register(moving, fixed, same_frame=False)
    assert np.array_equal(found.matrix, STILL)
    assert found.gate == Gate.HEADER
    assert found.metric > 0.5


def test_the_padding_of_a_scanner_is_no_cut_out_brain() -> None:
    fixed, moving = a_head("T1C"), a_head("FLAIR")
    padded = np.ones(fixed.grid.shape, dtype=bool)
    padded[:, :, 20:-20] = False
    fixed, mirrored = (
        volume.with_array(np.where(padded, 0, volume.array + 40).astype(np.float32))
        for volume in (fixed, moving.with_array(moving.array[:, :, ::-1]))
    )
    with pytest.raises(MirroredSeries):
        register(mirrored, fixed, same_frame=True)


def test_a_series_without_anything_in_common_is_refused() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    random = np.random.default_rng(2)
    noise = fixed.with_array(random.normal(100, 10, fixed.array.shape).astype(np.float32))
    with pytest.raises(RegistrationFailed, match="nats"):
        register(noise, fixed, same_frame=True)


def test_a_series_of_one_value_is_refused() -> None:
    fixed = scanned(a_head("T1C"), FINE)
    flat = Volume(array=np.zeros(THICK.shape, dtype=np.float32), grid=THICK)
    with pytest.raises(RegistrationFailed, match="no head"):
        register(flat, fixed, same_frame=True)
    with pytest.raises(RegistrationFailed, match="no head"):
        register(fixed, flat, same_frame=False)


@pytest.mark.slow
def test_integers_are_registered_like_floats() -> None:
    fixed, moving = scanned(a_head("T1C"), FINE), scanned(a_head("T1"), THICK, STRONG)
    whole = moving.with_array(moving.array.astype(np.int16))
    assert error_mm(register(whole, fixed, same_frame=True).matrix, STRONG) < 0.3
