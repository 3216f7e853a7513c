"""The wheel carries the default rules and bundles and works from any folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_runs_from_any_folder_without_the_source_tree(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed, site = tmp_path / "installed", tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    def python(*arguments: str) -> str:
        # -P and PYTHONPATH: the wheel's own package, not that of the source tree.
        command = [sys.executable, "-P", *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def segnode(*arguments: str) -> str:
        return python("-m", "node.app.cli.main", *arguments)

    assert str(installed) in python("-c", "import node; print(node.__file__)")
    segnode("init", str(site))
    assert (site / "rules" / "glioma.yaml").is_file()
    listed = segnode("models", "list", "--config", str(site / "node.yaml"))
    assert "intensity-glioma" in listed
    assert "ready" in listed
    verified = segnode("models", "verify", "intensity-glioma", "--config", str(site / "node.yaml"))
    assert "whole" in verified
