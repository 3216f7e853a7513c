"""`segnode`: the root of the command line and the one place where errors become exit codes."""

import sys

import typer

from node import __version__
from node.app.cli import (
    demo,
    initialise,
    models,
    network,
    phantom,
    processes,
    segment,
    senders,
    studies,
)
from node.app.cli.output import print_error
from node.domain.errors import ConfigurationInvalid, SegnodeError

EXIT_FAULT = 1
EXIT_CONFIGURATION = 2

app = typer.Typer(
    name="segnode",
    help="A node between MR scanners and PACS that segments gliomas. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"segnode {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options of the program as a whole."""


app.command("init")(initialise.init)
app.command("run")(processes.run)
app.command("serve")(processes.serve)
app.command("work")(processes.work)
app.command("doctor")(processes.doctor)
app.command("send")(network.send)
app.command("archive")(network.archive)
app.command("segment")(segment.segment)
app.command("phantom")(phantom.phantom)
app.command("demo")(demo.demo)
app.add_typer(studies.app, name="studies")
app.command("senders")(senders.senders)
app.add_typer(models.app, name="models")


def run() -> None:
    """Run the command line; a named error ends in its sentence and an exit code."""
    try:
        app()
    except ConfigurationInvalid as error:
        print_error(error)
        sys.exit(EXIT_CONFIGURATION)
    except SegnodeError as error:
        print_error(error)
        sys.exit(EXIT_FAULT)


if __name__ == "__main__":
    run()
