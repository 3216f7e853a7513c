import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.domain.errors import SpoolDamaged, SpoolUnwritable
from node.domain.ids import Sha256
from node.imaging.artefacts import load_volume, save_volume
from node.imaging.volume import Grid, Volume
from tests.support.mr_series import FRAME_UID, a_grid
from tests.unit.imaging.cases import grids

TYPES = [np.float32, np.uint8, np.bool_, np.int16]


@settings(deadline=None, max_examples=30)
@given(grid=grids(), dtype=st.sampled_from(TYPES))
def test_a_volume_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, dtype: type[np.generic]
) -> None:
    path = tmp_path_factory.mktemp("artefact") / "T1C.volume"
    array = (np.arange(np.prod(grid.shape)).reshape(grid.shape) % 5).astype(dtype)
    sha256 = save_volume(Volume(array=array, grid=grid), path)
    found = load_volume(path, sha256=sha256)
    assert found.array.dtype == dtype
    assert np.array_equal(found.array, array)
    assert np.array_equal(found.grid.affine, grid.affine)
    assert found.grid.frame_of_reference_uid == FRAME_UID


def a_volume() -> Volume:
    return Volume(array=np.ones((2, 3, 4), dtype=np.float32), grid=a_grid((2, 3, 4)))


def test_the_hash_is_that_of_the_file_and_the_same_each_time(tmp_path: Path) -> None:
    first = save_volume(a_volume(), tmp_path / "a")
    assert first == save_volume(a_volume(), tmp_path / "b")
    assert first == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_turned_array_is_written_in_its_own_order(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 3, 2).transpose(2, 1, 0)
    save_volume(Volume(array=array, grid=a_grid((2, 3, 4))), tmp_path / "a")
    assert np.array_equal(load_volume(tmp_path / "a").array, array)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x10" + b"\0" * 40])
def test_a_damaged_file_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SpoolDamaged):
        load_volume(tmp_path / "a")


def test_a_file_that_is_gone_altered_or_cut_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(SpoolDamaged):
        load_volume(path)
    sha256 = save_volume(a_volume(), path)
    with pytest.raises(SpoolDamaged, match="not what was written"):
        load_volume(path, sha256=Sha256("0" * 64))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SpoolDamaged):
        load_volume(path)
    with pytest.raises(SpoolDamaged):
        load_volume(path, sha256=sha256)


def test_a_folder_that_is_gone_is_a_fault_of_the_spool(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnwritable):
        save_volume(a_volume(), tmp_path / "gone" / "a")
