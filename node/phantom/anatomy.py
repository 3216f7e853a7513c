"""Everything of the head but the brain: fluid, dura, skull, scalp, face and neck.

Shapes are level functions in mm, negative inside, on a 2 mm grid (skin and inner skull), and
ellipsoids and tubes painted at 1 mm. Coordinates are LPS, origin at the template's.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from node.imaging.bridges import from_sitk, to_sitk
from node.imaging.volume import Array, Volume
from node.phantom.fields import Floats, axis_grid, coordinates, sample, smooth_noise
from node.phantom.space import COARSE_GRID, HEAD_GRID, Point, Window, in_head, window_between
from node.phantom.tissues import Tissue

T = Tissue

MASTOID_GRID: Final = axis_grid((-12.0, -14.0, -15.0), (12.0, 14.0, 15.0), 1.0)


@dataclass(slots=True, kw_only=True)
class Canvas:
    """The label map while it is being painted: uint8 tissue codes on HEAD_GRID."""

    labels: Array
    inner_skull: Floats  # mm outside the cranial cavity, negative inside
    skin: Floats  # mm outside the head

    def ellipsoid(
        self, centre: Point, radii: Point, tissue: Tissue, over: Array | None = None
    ) -> None:
        """Paint an ellipsoid where the mask `over` allows it."""
        window = _window(centre, radii)
        x, y, z = (axis - c for axis, c in zip(_axes(window), centre, strict=True))
        inside = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 <= 1.0
        self._fill(window, inside, tissue, over)

    def pair(self, centre: Point, radii: Point, tissue: Tissue, over: Array | None = None) -> None:
        """Paint an ellipsoid and its mirror image."""
        self.ellipsoid(centre, radii, tissue, over)
        self.ellipsoid((-centre[0], centre[1], centre[2]), radii, tissue, over)

    def tube(
        self, points: list[Point], radius: float, tissue: Tissue, over: Array | None = None
    ) -> None:
        """Paint a chain of balls, close enough to be a tube, along the points."""
        for start, end in itertools.pairwise(points):
            length = float(np.linalg.norm(np.subtract(end, start)))
            for part in np.linspace(0.0, 1.0, max(2, round(length / (0.6 * radius)))):
                place = tuple(float(a + part * (b - a)) for a, b in zip(start, end, strict=True))
                self.ellipsoid((place[0], place[1], place[2]), (radius,) * 3, tissue, over)

    def cells(self, centre: Point, air: Array) -> None:
        """Paint bone with air cells, an array of MASTOID_GRID, where no brain cavity is."""
        radii = (12.0, 14.0, 15.0)
        over = self.inner_skull > 1.0
        self.ellipsoid(centre, radii, T.BONE, over)
        self._fill(_window(centre, radii), air, T.AIR, over & (self.labels == T.BONE))

    def _fill(self, window: Any, inside: Array, tissue: Tissue, over: Array | None) -> None:
        if over is not None:
            inside = inside & over[window]
        self.labels[window][inside] = tissue


def paint_head(rng: np.random.Generator, brain: Volume) -> Array:
    """Tissue codes, uint8, on HEAD_GRID; the brain's own voxels are painted as CSF.

    brain: bool on BRAIN_GRID.
    """
    inner, skin = _levels(rng, brain)
    canvas = Canvas(labels=np.zeros(HEAD_GRID.shape, dtype=np.uint8), inner_skull=inner, skin=skin)
    _paint_soft_tissue(rng, canvas)
    _paint_neck(canvas)
    _paint_skull(rng, canvas)
    _paint_face(rng, canvas)
    _paint_cavity(canvas, in_head(brain.array))
    canvas.labels[skin > 0] = T.AIR
    return canvas.labels


def _levels(rng: np.random.Generator, brain: Volume) -> tuple[Floats, Floats]:
    coarse = sample(
        brain.with_array(brain.array.astype(np.float32)), COARSE_GRID, nearest=True
    ).array
    dilated = _distance(_distance(coarse > 0) < 9.0)
    cavity = ndimage.gaussian_filter(dilated + np.float32(6.2), 1.0)
    bone = 7.4 + 0.9 * np.clip(smooth_noise(rng, COARSE_GRID, 30.0), -2.0, 2.0)
    scalp = 5.6 + 0.8 * np.clip(smooth_noise(rng, COARSE_GRID, 40.0), -2.0, 2.0)
    skin = _join(cavity - bone - scalp, _face_and_neck(), 20.0)
    return _fine(cavity), _fine(skin)


def _distance(mask: Array) -> Floats:
    """Signed distance in mm on the coarse grid, positive outside."""
    image = to_sitk(Volume(array=mask, grid=COARSE_GRID))
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return from_sitk(distance).array


def _fine(level: Floats) -> Floats:
    return sample(Volume(array=level.astype(np.float32), grid=COARSE_GRID), HEAD_GRID).array


def _join(first: Floats, second: Floats, width_mm: float) -> Floats:
    """Union of two levels with a rounded seam."""
    blend = np.clip(0.5 + 0.5 * (second - first) / width_mm, 0.0, 1.0)
    joined: Floats = second + (first - second) * blend - width_mm * blend * (1.0 - blend)
    return joined


def _bulge(centre: Point, radii: Point) -> Floats:
    x, y, z = (axis - c for axis, c in zip(coordinates(COARSE_GRID), centre, strict=True))
    scaled = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    bulge: Floats = (scaled - 1.0) * min(radii)
    return bulge


def _face_and_neck() -> Floats:
    z = coordinates(COARSE_GRID)[2]
    face = _bulge((0.0, -38.0, -66.0), (64.0, 52.0, 66.0))
    jaw = _bulge((0.0, -52.0, -112.0), (46.0, 40.0, 30.0))
    nose = _bulge((0.0, -90.0, -66.0), (13.0, 24.0, 19.0))
    neck = np.maximum(_bulge((0.0, 32.0, -130.0), (58.0, 60.0, 300.0)), z + 52.0)
    lips = _bulge((0.0, -86.0, -100.0), (22.0, 12.0, 12.0))
    head = _join(_join(face, jaw, 18.0), neck, 16.0)
    return _join(_join(head, nose, 9.0), lips, 8.0)


def _paint_soft_tissue(rng: np.random.Generator, canvas: Canvas) -> None:
    """Skin, fat under it, muscle with streaks of fat inside."""
    streaks = sample(
        Volume(array=smooth_noise(rng, COARSE_GRID, 8.0), grid=COARSE_GRID), HEAD_GRID
    ).array
    canvas.labels[canvas.skin <= 0] = T.SKIN
    canvas.labels[canvas.skin <= -2.0] = T.FAT
    z = coordinates(HEAD_GRID)[2]
    muscle_depth = np.where(z > -20.0, -30.0, -7.0)  # the scalp has fat down to the bone
    canvas.labels[(canvas.skin + 1.5 * streaks <= muscle_depth) & (streaks < 0.9)] = T.MUSCLE


def _paint_neck(canvas: Canvas) -> None:
    """Spine with discs and cord; airway; great vessels."""
    for bottom in range(-170, -76, 19):
        canvas.ellipsoid((0.0, 24.0, bottom + 9.0), (12.5, 10.5, 9.0), T.BONE)
        canvas.ellipsoid((0.0, 24.0, bottom + 9.0), (11.5, 9.5, 8.0), T.MARROW)
        canvas.ellipsoid((0.0, 66.0, bottom + 7.0), (5.0, 14.0, 5.0), T.BONE)
        canvas.ellipsoid((0.0, 66.0, bottom + 7.0), (3.5, 12.0, 3.5), T.MARROW)
        canvas.pair((17.0, 40.0, bottom + 8.0), (9.0, 11.0, 7.0), T.BONE)
        canvas.pair((17.0, 40.0, bottom + 8.0), (7.5, 9.0, 5.5), T.MARROW)
    canvas.pair((34.0, -2.0, -120.0), (3.2, 3.2, 60.0), T.BLOOD)
    canvas.pair((40.0, 10.0, -120.0), (4.5, 5.0, 60.0), T.BLOOD)
    canvas.ellipsoid((0.0, -2.0, -112.0), (9.0, 6.0, 44.0), T.MUCOSA)
    canvas.ellipsoid((0.0, -2.0, -112.0), (7.0, 4.0, 42.0), T.AIR)


def _paint_skull(rng: np.random.Generator, canvas: Canvas) -> None:
    """Dura, inner table, diploe, outer table around the cavity; blood-forming marrow between."""
    thick = (
        7.2
        + sample(
            Volume(array=smooth_noise(rng, COARSE_GRID, 30.0), grid=COARSE_GRID), HEAD_GRID
        ).array
    )
    depth = canvas.inner_skull
    covered = canvas.skin < -3.0
    canvas.labels[(depth > 0.0) & (depth <= thick) & covered] = T.BONE
    canvas.labels[(depth > 1.7) & (depth <= thick - 1.7) & covered] = T.MARROW
    x, y, z = coordinates(HEAD_GRID)
    base = (z < -22.0) & (depth > 0.0) & (depth <= thick) & covered
    canvas.labels[base & (depth > 1.2)] = T.BONE
    clivus = (np.abs(x) < 12.0) & (y > -8.0) & (y < 26.0) & (z > -66.0) & base
    canvas.labels[clivus & (depth > 1.5) & (depth < 9.0)] = T.MARROW
    canvas.labels[(depth > -1.0) & (depth <= 0.3)] = T.DURA


def _paint_face(rng: np.random.Generator, canvas: Canvas) -> None:
    outside = canvas.inner_skull > 5.0
    _paint_mouth(canvas, outside)
    _paint_sinuses(rng, canvas, outside)
    _paint_orbits(canvas, canvas.inner_skull > 2.5)


def _paint_mouth(canvas: Canvas, outside: Array) -> None:
    canvas.ellipsoid((0.0, -42.0, -104.0), (27.0, 36.0, 20.0), T.MUSCLE, outside)
    canvas.ellipsoid((0.0, -46.0, -86.0), (25.0, 36.0, 5.0), T.BONE, outside)
    for angle in np.linspace(-1.25, 1.25, 60):  # jaw and teeth: two arches
        x, y = 37.0 * np.sin(angle), -44.0 - 34.0 * np.cos(angle)
        canvas.ellipsoid((x, y, -114.0), (5.0, 5.0, 10.0), T.BONE, outside)
        canvas.ellipsoid((x, y, -117.0), (2.5, 2.5, 5.0), T.MARROW, outside)
        canvas.ellipsoid((0.88 * x, y + 3.0, -97.0), (4.0, 4.0, 9.0), T.BONE, outside)
    canvas.pair((46.0, -18.0, -92.0), (3.5, 10.0, 34.0), T.BONE, outside)
    canvas.pair((46.0, -18.0, -92.0), (1.8, 7.0, 30.0), T.MARROW, outside)
    canvas.pair((54.0, -12.0, -88.0), (6.0, 14.0, 28.0), T.MUSCLE, outside)


def _paint_sinuses(rng: np.random.Generator, canvas: Canvas, outside: Array) -> None:
    canvas.pair((27.0, -58.0, -66.0), (14.5, 17.5, 17.5), T.BONE, outside)
    canvas.pair((27.0, -58.0, -66.0), (13.3, 16.3, 16.3), T.MUCOSA, outside)
    canvas.pair((27.0, -58.0, -66.0), (12.0, 15.0, 15.0), T.AIR, outside)
    canvas.ellipsoid((0.0, -52.0, -62.0), (14.0, 35.0, 20.0), T.MUCOSA, outside)
    canvas.ellipsoid((0.0, -52.0, -62.0), (12.5, 33.5, 18.5), T.AIR, outside)
    canvas.ellipsoid((0.0, -52.0, -62.0), (1.3, 34.0, 19.0), T.SKIN, outside)
    for level in (-73.0, -62.0, -52.0):  # turbinates
        canvas.pair((8.0, -52.0, level), (4.0, 24.0, 3.6), T.MUCOSA, outside)
    canvas.ellipsoid((0.0, -30.0, -40.0), (13.0, 12.0, 9.0), T.BONE, outside)
    canvas.ellipsoid((0.0, -30.0, -40.0), (11.5, 10.5, 7.5), T.AIR, outside)
    canvas.ellipsoid((0.0, -50.0, -36.0), (9.0, 20.0, 9.0), T.BONE, outside)
    for side in (-5.0, 0.0, 5.0):
        canvas.ellipsoid((side, -50.0, -36.0), (1.8, 18.0, 7.0), T.AIR, outside)
    cells = smooth_noise(rng, MASTOID_GRID, 5.0) > 0.0
    for side in (-1.0, 1.0):
        canvas.cells((side * 48.0, 34.0, -52.0), cells)


def _paint_orbits(canvas: Canvas, outside: Array) -> None:
    canvas.pair((29.0, -54.0, -34.0), (18.0, 29.0, 17.5), T.BONE, outside)
    canvas.pair((29.5, -56.0, -34.0), (16.5, 28.0, 16.0), T.FAT, outside)
    for side in (-1.0, 1.0):
        back = (side * 12.0, -22.0, -30.0)
        globe = (side * 31.0, -66.0, -35.0)
        for shift in ((11.0, 0.0, 0.0), (-11.0, 0.0, 0.0), (0.0, 0.0, 10.0), (0.0, 0.0, -10.0)):
            insertion = (globe[0] + shift[0], globe[1] + 6.0, globe[2] + shift[2])
            canvas.tube([back, insertion], 1.9, T.MUSCLE, outside)
        canvas.tube([back, (side * 24.0, -50.0, -34.0), globe], 2.0, T.WHITE, outside)
        canvas.ellipsoid(globe, (12.6, 12.6, 12.6), T.DURA)
        canvas.ellipsoid(globe, (11.5, 11.5, 11.5), T.VITREOUS)
        canvas.ellipsoid((globe[0], globe[1] - 8.0, globe[2]), (4.5, 2.2, 4.5), T.LENS)


def _paint_cavity(canvas: Canvas, brain: Array) -> None:
    """Fluid around the brain and down the spine, falx, sinuses, arteries of the base."""
    inner = canvas.inner_skull
    canvas.labels[(inner <= -1.0) | brain] = T.CSF
    canvas.tube([(0.0, 45.0, -66.0), (0.0, 42.0, -90.0), (0.0, 43.0, -164.0)], 8.5, T.CSF)
    canvas.tube([(0.0, 45.0, -66.0), (0.0, 42.0, -90.0), (0.0, 43.0, -164.0)], 5.2, T.WHITE)
    canvas.tube([(0.0, 45.0, -66.0), (0.0, 42.0, -90.0), (0.0, 43.0, -164.0)], 2.2, T.GREY)
    x, y, z = coordinates(HEAD_GRID)
    free = ~brain & (inner <= 0.5)
    upper = (z > 8.0) | (y > 85.0)
    canvas.labels[free & upper & (np.abs(x) < 5.0 + 0.5 * inner) & (inner > -7.0)] = T.BLOOD
    canvas.labels[free & (np.abs(x) < 0.8) & (z > 0.0) & (inner <= -7.0)] = T.DURA
    across = (np.abs(z + 22.0 - 0.1 * (y - 60.0)) < 3.5) & (y > 42.0)
    canvas.labels[free & across & (inner > -4.5)] = T.BLOOD
    canvas.tube([(0.0, 20.0, -58.0), (0.0, 12.0, -30.0), (0.0, 10.0, -16.0)], 1.7, T.BLOOD, ~brain)
    for side in (-1.0, 1.0):
        carotid = [
            (side * 26.0, 5.0, -100.0),
            (side * 24.0, 4.0, -60.0),
            (side * 10.0, -2.0, -40.0),
        ]
        canvas.tube([*carotid, (side * 11.0, -6.0, -20.0)], 2.4, T.BLOOD, ~brain)


def _axes(window: Window) -> tuple[Any, Any, Any]:
    x, y, z = coordinates(HEAD_GRID)
    return x[:, :, window[2]], y[:, window[1], :], z[window[0], :, :]


def _window(centre: Point, radii: Point) -> Window:
    low, high = np.subtract(centre, radii), np.add(centre, radii)
    return window_between((low[0], low[1], low[2]), (high[0], high[1], high[2]))
