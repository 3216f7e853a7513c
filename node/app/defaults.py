"""Where the rules and bundles that come with Segnode lie: in the wheel or the source tree."""

from pathlib import Path

import node


def default_rules() -> Path:
    """Folder of the rule files that come with Segnode."""
    return _folder("routing_rules")


def default_bundles() -> Path:
    """Folder of the bundles that come with Segnode."""
    return _folder("models")


def _folder(name: str) -> Path:
    package = Path(node.__file__).parent
    installed = package / "defaults" / name
    return installed if installed.is_dir() else package.parent / name
