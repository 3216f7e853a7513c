"""What `segnode doctor` looks at on a node that is otherwise in order."""

from pathlib import Path

import yaml

from node.app.demo import configure
from node.app.doctor import examine
from node.operations.checks import Finding, Grade
from tests.support.certificates import Authority


def found_on(folder: Path, **listen: object) -> dict[str, Finding]:
    """Configure a node, change its `listen`, and examine it."""
    folder.mkdir()
    configuration = configure(folder, archive_port=1).configuration
    content = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    content["listen"].update(listen)
    configuration.write_text(yaml.safe_dump(content), encoding="utf-8")
    return {finding.check: finding for finding in examine(configuration)}


def test_the_demo_names_its_scanner_and_nobody_else(tmp_path: Path) -> None:
    found = found_on(tmp_path / "node")
    assert found["callers"].grade is Grade.OK
    assert found["callers"].text == "1 may send"
    assert "TLS certificate" not in found


def test_the_machine_and_the_ways_to_find_the_brain_are_told(tmp_path: Path) -> None:
    found = found_on(tmp_path / "node")
    assert "cores" in found["machine"].text
    assert "deepbet" in found["brain extraction"].text


def test_nobody_on_the_list_is_a_warning(tmp_path: Path) -> None:
    assert found_on(tmp_path / "node", callers=[])["callers"].grade is Grade.WARN


def test_a_tls_port_and_its_certificate_are_looked_at(tmp_path: Path) -> None:
    options = Authority(tmp_path).issue("segnode")
    tls = {
        "port": 0,
        "certificate": str(options.certificate),
        "key": str(options.key),
        "authorities": str(options.authorities),
    }
    found = found_on(tmp_path / "node", tls=tls)
    assert found["DICOM TLS port"].grade is Grade.OK
    assert found["TLS certificate"].grade is Grade.OK
    options.key.unlink()
    assert found_on(tmp_path / "other", tls=tls)["TLS certificate"].grade is Grade.FAULT


def test_an_entry_that_cannot_be_read_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    found = found_on(tmp_path / "node", callers=["MR1@scanner"])
    assert found["configuration"].grade is Grade.FAULT
    assert "MR1@scanner" in found["configuration"].text
