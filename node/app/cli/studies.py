"""`segnode studies`: the list, the story of one, and the retry."""

from typing import Annotated

import typer

from node.app.cli.options import ConfigOption, settings_from

app = typer.Typer(help="List the studies, tell the story of one, retry one.")

UNIDENTIFIED = "unidentified"


@app.callback(invoke_without_command=True)
def list_studies(
    context: typer.Context,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 50,
) -> None:
    """List the studies, newest first."""
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    from node.app.cli.story import list_lines  # noqa: PLC0415
    from node.app.wiring import ledger_of  # noqa: PLC0415

    ledger = ledger_of(settings_from(config))
    for line in list_lines(ledger.stories.list_studies(limit)):
        typer.echo(line)
    strays = ledger.stories.refusals_without_study()
    if strays:
        typer.echo(f"{len(strays)} refused objects belong to no study here: show {UNIDENTIFIED}")


@app.command("show")
def show(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help=f"Study Instance UID, or '{UNIDENTIFIED}'.")],
    config: ConfigOption = None,
) -> None:
    """Tell the whole story of a study."""
    from node.app.cli.story import refusal_lines, story_lines  # noqa: PLC0415
    from node.app.wiring import ledger_of  # noqa: PLC0415
    from node.domain.ids import StudyInstanceUID  # noqa: PLC0415

    ledger = ledger_of(settings_from(config or context.obj))
    strays = ledger.stories.refusals_without_study()
    story = ledger.stories.story(StudyInstanceUID(uid))
    if story is not None:
        lines = story_lines(story)
    elif uid == UNIDENTIFIED:
        lines = refusal_lines(strays)
    else:
        lines = refusal_lines([r for r in strays if r.study_instance_uid == uid])
    found = list(lines)
    if not found:
        typer.echo("nothing is known of it", err=True)
        raise typer.Exit(1)
    typer.echo("\n".join(found))


@app.command("retry")
def retry(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    config: ConfigOption = None,
) -> None:
    """Try a failed study again: judge it anew, or go on where its analysis failed."""
    from node.app.retry import retry_study  # noqa: PLC0415
    from node.domain.ids import StudyInstanceUID  # noqa: PLC0415

    settings = settings_from(config or context.obj)
    done = retry_study(settings, StudyInstanceUID(uid))
    typer.echo(done.text)
    if not done.anything:
        raise typer.Exit(1)
