"""`segnode init`: a folder with a commented configuration and a first rule file."""

from pathlib import Path
from typing import Annotated

import typer

from node.domain.errors import ConfigurationInvalid

NODE_YAML = """\
# Segnode. Unknown keys are errors; relative paths are relative to this file.
# `segnode doctor` checks all of it.

# What the node calls itself, towards scanners and archives.
ae_title: SEGNODE

# Embedded SQLite for one machine; postgresql+psycopg://user@host/segnode for several.
database: sqlite:///segnode.sqlite

# Received images and intermediate results. Local disk, or a mount that all machines share.
# A study of four series takes about 60 MB, its results as much; while it is analysed, or when
# its analysis failed, 400 MB more.
spool: spool

# Every *.yaml in this folder is a rule; a saved change is in force at once.
rules: rules

# Folders with bundles of your own (`segnode models import`); Segnode's come with it.
bundles: [bundles]

listen:
  host: 0.0.0.0
  port: 11112
  # Who may send: AE, AE@address, AE@network/bits or *@address. Empty lets everyone in.
  callers: []

http:
  # /metrics for Prometheus, /healthz, /readyz. They hold no patient data.
  host: 127.0.0.1
  port: 8080

# Where results go. A rule may name some of these; a rule that names none sends to all.
destinations: {}
#  pacs:
#    ae_title: PACS
#    host: pacs.example.org
#    port: 104

work:
  # Threads for numeric work; 0 takes what the machine has.
  threads: 0
  # The name of this machine among several; empty takes the host's name. It must stay the same
  # over restarts, because it says whose unfinished work is whose.
  executor_id: ""
  # How many analyses may run at once on this machine.
  analyses_at_once: 1

retry:
  # A destination that does not answer is tried again after 5 s, 10 s, 20 s ... 15 min.
  first_s: 5
  factor: 2
  longest_s: 900
  attempts: 12

# Slice thickness of the overlay series when the reference series is 3D.
overlay_thickness_mm: 3

# `doctor` and /readyz complain when the spool has less free space than this.
min_free_mib: 1024

log_level: INFO
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to create or to complete.")],
) -> None:
    """Write a commented node.yaml and a first rule file; never overwrites."""
    from node.app.defaults import default_rules  # noqa: PLC0415
    from node.app.wiring import make_spool  # noqa: PLC0415

    configuration = folder / "node.yaml"
    if configuration.exists():
        message = f"{configuration} exists and is left as it is"
        raise ConfigurationInvalid(message)
    try:
        for name in ("rules", "bundles"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for rule in sorted(default_rules().glob("*.yaml")):
            target = folder / "rules" / rule.name
            if not target.exists():
                target.write_bytes(rule.read_bytes())
        make_spool(folder / "spool")
        configuration.write_text(NODE_YAML, encoding="utf-8")
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror}"
        raise ConfigurationInvalid(message) from error
    typer.echo(f"wrote {configuration} and {folder / 'rules'}")
    typer.echo(f"next: name a destination in it, then segnode doctor --config {configuration}")
