"""Heavy packages stay out of the processes that must start fast or stay small."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "SimpleITK", "highdicom", "monai", "scipy", "nilearn", "deepbet", "pandas"}
SLOW_TO_START = HEAVY | {"pynetdicom", "pydicom", "dbos", "sqlalchemy", "fastapi", "numpy", "rich"}


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def test_the_serving_process_loads_no_heavy_package() -> None:
    assert modules_after("import node.app.serve") & HEAVY == set()


def test_help_loads_nothing_that_takes_long() -> None:
    assert modules_after("import node.app.cli.main") & SLOW_TO_START == set()


@pytest.mark.parametrize("room", ["domain", "dicom", "rules", "telemetry"])
def test_the_light_rooms_are_light(room: str) -> None:
    statement = (
        f"import importlib, pkgutil, node.{room} as room\n"
        "for found in pkgutil.iter_modules(room.__path__): "
        "importlib.import_module(f'{room.__name__}.{found.name}')"
    )
    assert modules_after(statement) & HEAVY == set()
