"""`segnode demo`: one synthetic study from a scanner to an archive, shown step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.app.cli.output import console

if TYPE_CHECKING:
    from node.app.demo import DemoNode
    from node.phantom.study import StudyFiles
    from node.store.stories import StudyStory

LIMIT_S = 900.0


def demo(
    output: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = (
        Path("demo-output")
    ),
    seed: Annotated[int, typer.Option(help="Another seed, another tumour.")] = 0,
) -> None:
    """Send a synthetic head study through a real node; exit 0 only if the results arrived."""
    from node.app.cli.report import arrival_lines, story_report, volume_lines  # noqa: PLC0415
    from node.app.demo import compare, configure, empty_folder, running  # noqa: PLC0415
    from node.domain.states import AnalysisState  # noqa: PLC0415
    from node.net.archive import FolderArchive  # noqa: PLC0415
    from node.phantom.head import make_head  # noqa: PLC0415
    from node.phantom.study import write_study  # noqa: PLC0415

    folder = output.resolve()
    empty_folder(folder)
    _say("Segnode demo: scanner -> node -> archive, all on this machine", style="bold")
    with console().status("making a synthetic head study"):
        head = make_head(seed)
        study = write_study(head, folder / "scanner", salt=str(folder))
    _say(f"made a synthetic head study of {len(study.files)} images in {folder / 'scanner'}")
    archive = FolderArchive(folder / "archive", ae_title="DEMO-ARCHIVE")
    archive.start()
    try:
        node = configure(folder, archive.port)
        with running(node, folder / "node.log"):
            story = _through_the_node(node, study)
    finally:
        archive.stop()
    if story is None:
        _say(f"the study did not end within {LIMIT_S:.0f} s; see {folder / 'node.log'}")
        raise typer.Exit(1)
    _print("", *story_report(story), "", *arrival_lines(archive.received, folder / "archive"))
    compared = compare(head, archive.received)
    if compared is None:
        _say("the results did not arrive", style="bold red")
        raise typer.Exit(1)
    _print("", *volume_lines(compared))
    picture = next((folder / "spool" / "work").glob("*/overlay.png"), None)
    _print("", f"picture of the overlay: {picture}")
    _say(f"ask the node again: segnode studies --config {node.configuration}")
    delivered = story.analyses[-1].record.state is AnalysisState.DELIVERED
    if picture is None or not (delivered and compared.has_overlay):
        raise typer.Exit(1)


def _through_the_node(node: "DemoNode", study: "StudyFiles") -> "StudyStory | None":
    """Send as a scanner would, then follow the study to its end."""
    from contextlib import closing  # noqa: PLC0415

    from rich.progress import MofNCompleteColumn, Progress  # noqa: PLC0415

    from node.app.demo import follow  # noqa: PLC0415
    from node.app.wiring import ledger_of  # noqa: PLC0415
    from node.domain.ids import StudyInstanceUID  # noqa: PLC0415
    from node.net.scu import send_files  # noqa: PLC0415

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(f"C-STORE to {node.scanner}", total=len(study.files))
        results = send_files(node.scanner, study.files, lambda *_: bar.advance(task))
    accepted = sum(result.status == 0 for result in results)
    _say(f"sent by C-STORE to {node.scanner}: {accepted} of {len(results)} accepted")
    with (
        closing(ledger_of(node.settings)) as ledger,
        console().status("waiting for the node") as status,
    ):
        return follow(ledger, StudyInstanceUID(study.study_instance_uid), LIMIT_S, status.update)


def _print(*lines: str) -> None:
    for line in lines:
        typer.echo(line)


def _say(text: str, *, style: str | None = None) -> None:
    console().print(text, style=style, markup=False, soft_wrap=True)
