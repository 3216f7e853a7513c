"""Resident memory of `segnode serve` before and after 5,000 instances of 130 kB.

Run: python -m tests.benchmarks.serve_memory [instances]
"""

import sys
import tempfile
import time
from pathlib import Path

import psutil
from pydicom.uid import generate_uid

from node.net.scu import send_files
from tests.support.dicom_objects import mr_dataset, write_file
from tests.support.node import a_node, wait_until_listening
from tests.support.peers import free_port

BATCH = 250
SIDE = 256
MIB = 2**20


def a_batch(folder: Path, number: int) -> list[Path]:
    """Write one series of BATCH slices."""
    series = generate_uid()
    pixels = bytes(SIDE * SIDE * 2)
    paths = []
    for index in range(BATCH):
        dataset = mr_dataset(
            index + 1,
            StudyInstanceUID="1.2.826.0.1.3680043.10.9.77",
            SeriesInstanceUID=series,
            SOPInstanceUID=generate_uid(),
            SeriesNumber=number,
            Rows=SIDE,
            Columns=SIDE,
            PixelData=pixels,
        )
        paths.append(write_file(folder / f"IM{index:04d}.dcm", dataset))
    return paths


def main(instances: int) -> None:
    """Send and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with a_node(folder / "node", free_port()) as node:
            node.start("serve")
            wait_until_listening(node)
            process = psutil.Process(node.processes["serve"].pid)
            before = process.memory_info().rss
            seconds, accepted = 0.0, 0
            (folder / "scanner").mkdir()
            for number in range(instances // BATCH):
                paths = a_batch(folder / "scanner", number)
                started = time.monotonic()
                accepted += sum(r.status == 0 for r in send_files(node.scanner, paths))
                seconds += time.monotonic() - started
            after = process.memory_info().rss
            print(f"accepted   {accepted} of {instances} instances of {SIDE * SIDE * 2} bytes")
            print(f"rate       {accepted / seconds:.0f} instances/s, one association at a time")
            print(f"resident   {before / MIB:.0f} MiB before, {after / MIB:.0f} MiB after")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
