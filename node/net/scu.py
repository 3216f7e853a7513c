"""C-ECHO, C-STORE and N-EVENT-REPORT as the one who calls (PS3.4 annexes A, B, J): no loops.

Data sets leave as the bytes that they are in their files; nothing is decoded.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from pynetdicom import build_context, build_role, evt

from node.dicom.part10 import FileMeta, read_file_meta
from node.domain.errors import DestinationRefused, DestinationUnreachable, NotDicom, SegnodeError
from node.domain.ids import AETitle, SOPInstanceUID
from node.net.checkpoint import guard
from node.net.dimse import MAX_PDU, SUCCESS, VERIFICATION, CallingAE, resolve, tune

MAX_CONTEXTS: Final = 128
"""Presentation contexts of one association: odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

NO_CONTEXT: Final = "no presentation context accepted"
NO_ANSWER: Final = "no answer, the association is lost"

_PERMANENT: Final = 1

PLAIN_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")

Context = tuple[str, str]
"""SOP class and transfer syntax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Whom to call. timeout_s: for the connection, for each answer, and for silence."""

    ae_title: AETitle
    host: str
    port: int
    calling_ae_title: AETitle
    timeout_s: float = 30

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """What became of one file.

    status: the peer's answer (0x0000 success, 0xB... warning), None when there was none;
    error then says why. sop_instance_uid: None when the file is no DICOM file.
    """

    path: Path
    sop_instance_uid: SOPInstanceUID | None
    status: int | None
    error: str | None


def echo(peer: Peer) -> None:
    """Ask the peer whether it is there (C-ECHO).

    Raises DestinationUnreachable, or DestinationRefused when it answers, but not with success.
    """
    with _association(peer, [(VERIFICATION, "1.2.840.10008.1.2")]) as association:
        if not association.accepted_contexts:
            raise DestinationRefused(f"{peer} does not offer C-ECHO")
        status = _status(association.send_c_echo())
    if status is None:
        raise DestinationUnreachable(f"{peer} does not answer C-ECHO")
    if status != SUCCESS:
        raise DestinationRefused(f"{peer} answers C-ECHO with status 0x{status:04X}")


def send_files(
    peer: Peer,
    paths: Sequence[Path],
    on_sent: Callable[[Path, int], None] | None = None,
) -> tuple[SendResult, ...]:
    """Send files by C-STORE; return one result for each, in the order given.

    One association, or more where SOP classes and transfer syntaxes need over 128 contexts.
    on_sent: called with path and status after each answer. A file that cannot be read, or
    that the peer has no context for, is reported in its result and stops nothing.
    Raises DestinationUnreachable or DestinationRefused when no association could be had at
    all; when a later one fails, the files left have results that say so.
    """
    results: dict[Path, SendResult] = {}
    readable: dict[Path, FileMeta] = {}
    for path in paths:
        try:
            readable[path] = _file_meta(path)
        except NotDicom as error:
            results[path] = SendResult(
                path=path, sop_instance_uid=None, status=None, error=error.what
            )
    for batch in _batches(readable):
        try:
            results |= _send_batch(peer, batch, on_sent)
        except SegnodeError as error:
            if not any(result.sop_instance_uid for result in results.values()):
                raise
            results |= {p: _unsent(p, meta, error.what) for p, meta in batch.items()}
    return tuple(results[path] for path in paths)


def report_event(
    peer: Peer,
    sop_class_uid: str,
    sop_instance_uid: str,
    event_type: int,
    information: Dataset,
) -> Dataset:
    """Call a peer that is the user of a service of ours and report an event (N-EVENT-REPORT).

    We call, but stay the provider: that role is negotiated (PS3.7 annex D.3.3.4). Returns the
    data set of the status. Raises DestinationUnreachable, also when no answer comes, and
    DestinationRefused.
    """
    contexts = [(sop_class_uid, syntax) for syntax in PLAIN_SYNTAXES]
    role = build_role(sop_class_uid, scp_role=True)
    with _association(peer, contexts, roles=[role]) as association:
        if not association.accepted_contexts:
            raise DestinationRefused(f"{peer} takes no event reports of this service")
        try:
            status, _ = association.send_n_event_report(
                information, event_type, sop_class_uid, sop_instance_uid
            )
        except (RuntimeError, ValueError) as error:  # it went, or took another context
            raise DestinationUnreachable(f"{peer} ends the association") from error
    if "Status" not in status:
        raise DestinationUnreachable(f"{peer} does not answer an event report")
    answer: Dataset = status
    return answer


def _file_meta(path: Path) -> FileMeta:
    try:
        with path.open("rb") as source:
            return read_file_meta(source)
    except OSError as error:
        raise NotDicom(f"the file cannot be read: {error.strerror}") from error


def _batches(files: Mapping[Path, FileMeta]) -> Iterator[dict[Path, FileMeta]]:
    """Split files into associations of at most 128 contexts, keeping their order in each."""
    contexts = list(dict.fromkeys(_context(meta) for meta in files.values()))
    for start in range(0, len(contexts), MAX_CONTEXTS):
        part = set(contexts[start : start + MAX_CONTEXTS])
        yield {path: meta for path, meta in files.items() if _context(meta) in part}


def _context(meta: FileMeta) -> Context:
    return (meta.sop_class_uid, meta.transfer_syntax_uid)


def _unsent(path: Path, meta: FileMeta, error: str) -> SendResult:
    return SendResult(path=path, sop_instance_uid=meta.sop_instance_uid, status=None, error=error)


def _send_batch(
    peer: Peer,
    files: Mapping[Path, FileMeta],
    on_sent: Callable[[Path, int], None] | None,
) -> dict[Path, SendResult]:
    results: dict[Path, SendResult] = {}
    with _association(peer, list(dict.fromkeys(map(_context, files.values())))) as association:
        accepted = {
            (context.abstract_syntax, context.transfer_syntax[0])
            for context in association.accepted_contexts
        }
        lost = False
        for path, meta in files.items():
            if _context(meta) not in accepted:
                results[path] = _unsent(path, meta, NO_CONTEXT)
                continue
            results[path] = (
                _unsent(path, meta, NO_ANSWER) if lost else _store(association, path, meta)
            )
            status = results[path].status
            if status is None:
                lost = lost or results[path].error == NO_ANSWER
            elif on_sent is not None:
                on_sent(path, status)
    return results


def _store(association: Any, path: Path, meta: FileMeta) -> SendResult:
    try:
        status = _status(association.send_c_store(path))
    except RuntimeError:  # the association went since the last answer
        return _unsent(path, meta, NO_ANSWER)
    except (OSError, ValueError, AttributeError) as error:  # the file went, or changed
        return _unsent(path, meta, f"not sent: {type(error).__name__}")
    return SendResult(
        path=path,
        sop_instance_uid=meta.sop_instance_uid,
        status=status,
        error=NO_ANSWER if status is None else None,
    )


def _status(answer: Any) -> int | None:
    """Return the status of a response; pynetdicom gives an empty data set for none."""
    return int(answer.Status) if "Status" in answer else None


@contextmanager
def _association(
    peer: Peer, contexts: Sequence[Context], *, roles: Sequence[Any] = ()
) -> Iterator[Any]:
    """Open an association and release it at the end.

    roles: SCP/SCU role selections to negotiate.
    It may have no accepted context. Raises DestinationUnreachable, DestinationRefused.
    """
    try:
        address = resolve(peer.host, peer.port)
    except OSError as error:
        raise DestinationUnreachable(f"{peer}: the host name is not known") from error
    connected = threading.Event()
    association = CallingAE(peer.calling_ae_title, timeout_s=peer.timeout_s).associate(
        address,
        peer.port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
        ae_title=peer.ae_title,
        max_pdu=MAX_PDU,
        ext_neg=list(roles),
        evt_handlers=[
            (evt.EVT_CONN_OPEN, tune),
            (evt.EVT_CONN_OPEN, lambda event: guard(event.assoc)),
            (evt.EVT_CONN_OPEN, lambda _: connected.set()),
        ],
    )
    if not association.is_established and not _without_contexts(association):
        raise _why_not(peer, association, connected=connected.is_set())
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.join(peer.timeout_s)


def _without_contexts(association: Any) -> bool:
    """Whether the peer accepted the association but none of its contexts.

    pynetdicom aborts such an association by itself.
    """
    answer = association.acceptor.primitive
    return answer is not None and answer.result == 0


def _why_not(peer: Peer, association: Any, *, connected: bool) -> SegnodeError:
    """Return the error for an association that was not had."""
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        text = f"{peer} rejects the association ({answer.reason_str})"
        permanent = answer.result == _PERMANENT
        return DestinationRefused(text) if permanent else DestinationUnreachable(text)
    if connected:
        return DestinationUnreachable(f"{peer} takes connections but answers no association")
    return DestinationUnreachable(f"{peer} cannot be reached")
