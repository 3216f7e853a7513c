"""Where the shared folder lies beside the checkout; tests that need it skip without it."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SEGNODE_SHARED") or Path(__file__).resolve().parents[3] / "shared")
"""The environment's SEGNODE_SHARED, else the folder beside the checkout."""


def shared_path(relative: str) -> Path:
    """Return a path in the shared folder, or skip the test when it is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"../shared/{relative} is absent")
    return path
