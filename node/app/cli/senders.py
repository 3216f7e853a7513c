"""`segnode senders`: who sends here, how fast, and what is odd about it."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from node.app.cli.options import ConfigOption, settings_from

if TYPE_CHECKING:
    from node.store.senders import SenderRecord

FEW: Final = 2
"""What happened less often may be chance."""

STALLED_SHARE: Final = 0.1
ABORTED_SHARE: Final = 0.1
DUPLICATE_SHARE: Final = 0.1
REFUSED_SHARE: Final = 0.05


def senders(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell of each sender its images a second, gaps, repeats, PDU and transfer syntaxes."""
    from node.app.wiring import ledger_of  # noqa: PLC0415

    ledger = ledger_of(settings_from(config))
    records = ledger.senders.all()
    ledger.close()
    if as_json:
        typer.echo(json.dumps([as_plain(record) for record in records], indent=1))
        return
    for line in sender_lines(records):
        typer.echo(line)


def sender_lines(records: Sequence["SenderRecord"]) -> Iterator[str]:
    """One line for each sender, then the hints."""
    from node.app.cli.story import table  # noqa: PLC0415

    if not records:
        yield "nobody has called yet"
        return
    yield from table([_HEAD, *map(_row, records)])
    told = [f"{r.calling_ae_title}: {hint}" for r in records for hint in hints(r)]
    if told:
        yield ""
        yield from told


def hints(record: "SenderRecord") -> tuple[str, ...]:
    """Say what the operator of a sender should look at; nothing when it does well."""
    return tuple(
        hint for hint in (_rejected(record), _nagle(record), *_shares(record)) if hint is not None
    )


def _rejected(record: "SenderRecord") -> str | None:
    if record.associations or not record.rejected:
        return None
    return (
        "was never let in; if it should be, name it in listen.callers with its address, and let "
        "it call this node by its AE title"
    )


def _nagle(record: "SenderRecord") -> str | None:
    """Look for Nagle's algorithm at the sender, which waits for our delayed acknowledgement.

    Once it has shown in an association, all later instances of that count; a pause that happens
    to be as long counts once.
    """
    if not _often(record.stalled, record.instances, STALLED_SHARE):
        return None
    return (
        f"{record.stalled} of {record.instances} images came from a sender that waits 40 ms for "
        "acknowledgements: Nagle's algorithm; switch that off there (TCP_NODELAY)"
    )


def _shares(record: "SenderRecord") -> Iterator[str | None]:
    if _often(record.aborted, record.associations, ABORTED_SHARE):
        yield (
            f"{record.aborted} of {record.associations} associations ended in an abort; its log "
            "and ours say which side did"
        )
    if _often(record.duplicates, record.instances, DUPLICATE_SHARE):
        yield (
            f"{record.duplicates} of {record.instances} images came again; it may give up waiting "
            "for an answer too soon, or be told to send twice"
        )
    if _often(record.refused, record.instances, REFUSED_SHARE):
        yield f"{record.refused} of {record.instances} images were refused; the log says why"


def _often(times: int, of: int, share: float) -> bool:
    return times >= max(FEW, share * of)


def as_plain(record: "SenderRecord") -> dict[str, Any]:
    """Return a sender as plain JSON; times in UTC, units in the names."""
    return {
        "calling_ae_title": record.calling_ae_title,
        "address": record.address,
        "first_at": record.first_at.isoformat(),
        "last_at": record.last_at.isoformat(),
        "associations": record.associations,
        "aborted": record.aborted,
        "rejected": record.rejected,
        "instances": record.instances,
        "duplicates": record.duplicates,
        "refused": record.refused,
        "stalled": record.stalled,
        "size_bytes": record.size_bytes,
        "busy_seconds": record.busy_seconds,
        "instances_per_second": record.instances_per_second,
        "longest_gap_seconds": record.longest_gap_s,
        "max_pdu_bytes": record.max_pdu,
        "transfer_syntaxes": dict(record.transfer_syntaxes),
        "hints": list(hints(record)),
    }


_HEAD: Final = (
    "SENDER",
    "ADDRESS",
    "LAST (UTC)",
    "ASSOC",
    "ABORTED",
    "REJECTED",
    "IMAGES",
    "AGAIN",
    "REFUSED",
    "IMAGES/S",
    "GAP",
    "PDU",
    "SYNTAXES",
)


def _row(record: "SenderRecord") -> tuple[str, ...]:
    from node.app.cli.story import when  # noqa: PLC0415

    rate = record.instances_per_second
    return (
        record.calling_ae_title or "-",
        record.address or "-",
        when(record.last_at),
        str(record.associations),
        str(record.aborted),
        str(record.rejected),
        str(record.instances),
        str(record.duplicates),
        str(record.refused),
        "-" if rate is None else f"{rate:.1f}",
        f"{record.longest_gap_s:.1f} s",
        str(record.max_pdu or "any"),
        _syntaxes(record) or "-",
    )


def _syntaxes(record: "SenderRecord") -> str:
    """Return the syntaxes by name, the most used first."""
    from pydicom.uid import UID  # noqa: PLC0415 - keeps help fast

    counted = sorted(record.transfer_syntaxes.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{UID(uid).keyword or uid} {number}" for uid, number in counted)
