"""`segnode models`: what is listed, verified, imported and fetched from the command line."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from node.app.cli.main import app
from node.app.settings import read_settings
from node.app.wiring import bundle_folders
from node.domain.errors import BundleMissing, DownloadFailed
from tests.unit.segmentation.bundles import INTENSITY, MODELS, a_bundle
from tests.unit.segmentation.upstreams import a_monai_bundle, sha256


@pytest.fixture
def config(tmp_path: Path) -> Path:
    CliRunner().invoke(app, ["init", str(tmp_path / "site")])
    return tmp_path / "site/node.yaml"


def models(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments, "--config", str(config)])


def rows(config: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    done = models(config, *arguments, "--json")
    return {row["name"]: row for row in json.loads(done.stdout)}


def a_release(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "release_v1.5.0.zip", "w") as made:
        for name in ("dataset.json", "plans.json", "fold_all/checkpoint_final.pth"):
            made.writestr(name, name)
    return folder / "release_v1.5.0.zip"


def test_what_is_installed_and_what_can_be_fetched_is_listed(config: Path) -> None:
    found = rows(config, "list")
    assert found["intensity-glioma"]["state"] == "ready"
    assert found["intensity-glioma"]["engine"] == "intensity"
    for name in ("ca-cnn-brats17", "brats-mri-segmentation", "hd-bet"):
        assert found[name]["state"] == "weights not installed"
        assert found[name]["remedy"] == f"segnode models fetch {name}"
    assert found["hd-bet"]["engine"] == "brain extraction"


def test_the_table_has_a_line_for_each(config: Path) -> None:
    lines = models(config, "list").stdout.splitlines()
    assert lines[0].split()[:5] == ["name", "version", "state", "licence", "engine"]
    assert {"intensity-glioma", "hd-bet"} <= {line.split(" ")[0] for line in lines}


def test_all_is_whole_when_nothing_installed_is_damaged(config: Path) -> None:
    done = models(config, "verify")
    assert done.exit_code == 0
    assert "intensity-glioma 1.0.0: whole, " in done.stdout
    assert models(config, "verify", "intensity-glioma").exit_code == 0
    assert models(config, "verify", "hd-bet").exit_code == 1


def test_a_damaged_bundle_is_named_and_makes_the_exit_code_1(config: Path) -> None:
    made = a_bundle(config.parent / "bundles")
    (made / "LICENSE").unlink()
    done = models(config, "verify")
    assert done.exit_code == 1
    assert "LICENSE absent" in done.stdout


def test_an_unknown_name_cannot_be_verified(config: Path) -> None:
    assert isinstance(models(config, "verify", "other").exception, BundleMissing)


def test_a_bundle_and_a_foreign_model_are_imported(config: Path, tmp_path: Path) -> None:
    assert models(config, "import", str(INTENSITY)).exit_code == 0
    source = a_monai_bundle(tmp_path)
    metadata = json.loads((MODELS / "brats-mri-segmentation/configs/metadata.json").read_text())
    metadata["segnode"].update(name="site-model", weights={})
    (tmp_path / "m.json").write_text(json.dumps(metadata))
    done = models(config, "import", str(source), "--manifest", str(tmp_path / "m.json"))
    assert done.exit_code == 0
    (first, _) = bundle_folders(read_settings(config))
    assert {path.name for path in first.iterdir()} == {"intensity-glioma", "site-model"}
    assert rows(config, "list")["site-model"]["state"] == "ready"


def test_nothing_is_fetched_before_the_licence_is_accepted(config: Path) -> None:
    done = models(config, "fetch", "ca-cnn-brats17")
    assert done.exit_code == 1
    assert "University College London" in done.stdout
    assert "--accept-licence" in done.stdout
    assert list((config.parent / "bundles").iterdir()) == []


def test_parameters_that_were_carried_are_installed_and_damage_to_them_is_seen(
    config: Path, tmp_path: Path
) -> None:
    release = a_release(tmp_path)
    arguments = ("fetch", "hd-bet", "--accept-licence", "--from", str(release))
    assert isinstance(models(config, *arguments).exception, DownloadFailed)
    done = models(config, *arguments, "--checksum", f"sha256:{sha256(release.read_bytes())}")
    assert done.exit_code == 0
    assert "note: fold_all/checkpoint_final.pth is not what others found" in done.stdout
    assert rows(config, "list")["hd-bet"]["state"] == "ready"
    (config.parent / "bundles/.hd-bet-2/plans.json").write_text("{}")
    line = rows(config, "list")["hd-bet"]
    assert line["state"] == "invalid"
    assert "plans.json is not what was installed" in line["problem"]
    assert "plans.json" in models(config, "list").stdout.replace("\n", "").replace(" ", "")
    assert models(config, "verify").exit_code == 1
