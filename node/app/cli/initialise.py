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

# Folders with bundles of your own (`segnode models import` and `fetch`); Segnode's come with it.
bundles: [bundles]

listen:
  host: 0.0.0.0
  port: 11112
  # Who may send: AE@address, AE@network/bits, *@address or AE; "*" lets everyone in. Whoever is
  # not named is rejected, so with an empty list nobody gets in. For example:
  #   callers: [MR1@10.20.1.5, PACS@10.20.0.0/24, SEGNODE-SEND@127.0.0.1]
  callers: []
  # Senders must call the node by its own AE title.
  require_called_ae_title: true
  # Processes that receive; 0 takes one for each core, four at most.
  processes: 0
  # At once, in all and of one caller; more are told to come back later.
  max_associations: 32
  max_associations_per_caller: 16
  # Until a connection must have asked for an association, and until a silent one is aborted.
  patience_s: 10
  idle_timeout_s: 60
  # What one association may bring: MiB of an instance, instances, seconds in all, and seconds
  # for one message from its first byte to its last.
  limits:
    instance_mib: 4096
    instances_per_association: 100000
    association_s: 21600
    message_s: 600
  # A second port for DICOM over TLS 1.2 and 1.3. PEM files; new ones are taken up by themselves.
  # Callers must show a certificate of one of the authorities, and still be named above.
#  tls:
#    port: 2762
#    certificate: tls/segnode.crt
#    key: tls/segnode.key
#    authorities: tls/authorities.pem
#    client_certificate_required: true
  # Where callers listen, for answers of storage commitment that come when they have hung up.
  peers: {}
#    MR1:
#      host: 10.20.1.5
#      port: 104

overload:
  # While one of these is passed, images are refused as out of resources; senders keep them.
  # Free room of the spool's disk; instances acknowledged and not yet in the ledger; analyses
  # that wait.
  min_free_mib: 1024
  min_free_inodes: 10000
  most_unsettled: 20000
  most_waiting_analyses: 5000

http:
  # /metrics for Prometheus, /healthz, /readyz. They hold no patient data.
  host: 127.0.0.1
  port: 8080
  # Addresses or networks that may send images by STOW-RS; empty means none. With a file here,
  # they must also show the bearer token that is in it.
  stow_from: []
  stow_token_file: null

drop:
  # Files that are put into this folder are taken as if they had been sent; null takes none.
  folder: null

# Where results go. A rule may name some of these; a rule that names none sends to all.
destinations: {}
#  pacs:
#    ae_title: PACS
#    host: pacs.example.org
#    port: 104
#    timeout_s: 30

work:
  # Threads for numeric work; 0 takes what the machine has.
  threads: 0
  # The name of this machine among several; empty takes the host's name. It must stay the same
  # over restarts, because it says whose unfinished work is whose.
  executor_id: ""
  # How many analyses may run at once on this machine.
  analyses_at_once: 1
  # How often to look for work, in seconds.
  polling_s: 0.2
  # How the brain is found: auto chooses by what is installed, memory and sequence; or hd-bet,
  # hd-bet-v1, deepbet.
  brain_method: auto
  # A computation that takes longer, in seconds, is stopped, and the study says so.
  limits: {brain_s: 600, infer_s: 1800}

retry:
  # A destination that does not answer is tried again after 5 s, 10 s, 20 s ... 15 min.
  first_s: 5
  factor: 2
  longest_s: 900
  attempts: 12

# Slice thickness of the overlay series when the reference series is 3D.
overlay_thickness_mm: 3

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
    typer.echo("next: name in it who may send, and a destination; then")
    typer.echo(f"segnode doctor --config {configuration}")
