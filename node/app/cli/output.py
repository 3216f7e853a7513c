"""What the command line prints, and to where."""

from functools import cache
from typing import TYPE_CHECKING

from node.domain.errors import SegnodeError

if TYPE_CHECKING:
    from rich.console import Console


@cache
def console(*, stderr: bool = False) -> "Console":
    """Return the one console of a stream."""
    from rich.console import Console  # noqa: PLC0415 - keeps help fast

    return Console(stderr=stderr, highlight=False)


def print_error(error: SegnodeError) -> None:
    """Print what happened, what it means and what to do."""
    out = console(stderr=True)
    out.print(f"[bold red]{error.code}[/]: ", end="")
    out.print(error.what, markup=False)
    out.print(f"  means: {error.meaning}", markup=False)
    out.print(f"  do:    {error.remedy}", markup=False)
