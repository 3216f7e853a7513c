"""The rule files of a folder, read again when they change; a bad edit leaves the last good one.

Every change of the folder leads to one reading of the whole of it, a moment after the last event
(an editor writes, renames and deletes in one breath). Because not every file system tells of its
changes (NFS, some mounts in containers), the folder is also looked at from time to time.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from node.domain.errors import RuleInvalid
from node.rules.document import SIZE_LIMIT
from node.rules.grammar import Rule, parse_rules

FOLDER: Final = "."
"""The name under which a folder that cannot be listed stands among the errors."""

SETTLE_S: Final = 0.2
"""Quiet time after the last event before the folder is read."""

LOOK_S: Final = 30.0
"""How often the folder is looked at without an event."""

_MOST_FILES: Final = 100
_MOST_ROUNDS: Final = 10  # a folder that never becomes quiet is read all the same
_READING: Final = frozenset({"opened", "closed_no_write"})  # our own reading, not a change

OnInvalid = Callable[[str, RuleInvalid], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What a folder said: by file name its rule (the last valid one) and its error."""

    rules: Mapping[str, Rule]
    errors: Mapping[str, RuleInvalid]
    digest: str


class RuleBook:
    """The rules in force. Safe to use from several threads.

    on_invalid is called with a file's name and its error, once for each new error, on the thread
    that reads. settle_s and look_s are seconds, see SETTLE_S and LOOK_S.
    """

    def __init__(
        self,
        folder: Path,
        on_invalid: OnInvalid | None = None,
        *,
        settle_s: float = SETTLE_S,
        look_s: float = LOOK_S,
    ) -> None:
        self._folder = folder
        self._on_invalid = on_invalid
        self._settle_s = settle_s
        self._look_s = look_s
        self._reading = threading.Lock()
        self._changed = threading.Condition()
        self._contents = _Contents(rules={}, errors={}, digest="")
        self._generation = 0
        self._has_event = False
        self._closing = False
        self._observer: BaseObserver | None = None
        self._thread: threading.Thread | None = None
        self.reload()

    def current(self) -> tuple[Rule, ...]:
        """Return the rules in force, in the order of their files' names."""
        with self._changed:
            contents = self._contents
        return tuple(contents.rules.values())

    def errors(self) -> Mapping[str, RuleInvalid]:
        """Return, by file name, what is wrong with files whose last edit is not in force."""
        with self._changed:
            return dict(self._contents.errors)

    @property
    def generation(self) -> int:
        """How often the folder was read and taken over."""
        with self._changed:
            return self._generation

    def wait_for_generation(self, generation: int, timeout_s: float) -> bool:
        """Wait until the folder was read so often; False when the time was over before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._generation >= generation, timeout_s)

    def reload(self) -> None:
        """Read the folder now. What stands in it never raises."""
        self._read(even_if_same=True)

    def watch(self) -> None:
        """Start to follow the folder; does nothing when it is followed already."""
        if self._thread is not None:
            return
        self._closing = False
        observer = Observer()
        # Without a folder or with inotify's limits used up, looking from time to time remains.
        with suppress(OSError):
            observer.schedule(_Handler(self._on_event), str(self._folder))
            observer.start()
            self._observer = observer
        self._thread = threading.Thread(target=self._follow, name="rulebook", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; the rules stay as they are."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.watch()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _on_event(self) -> None:
        with self._changed:
            self._has_event = True
            self._changed.notify_all()

    def _follow(self) -> None:
        while True:
            with self._changed:
                told = self._changed.wait_for(self._is_woken, self._look_s)
                self._settle()
                if self._closing:
                    return
            self._read(even_if_same=told)

    def _is_woken(self) -> bool:
        return self._has_event or self._closing

    def _settle(self) -> None:
        """Wait until no event came for a while; the condition is held."""
        for _ in range(_MOST_ROUNDS):
            if not self._has_event or self._closing:
                return
            self._has_event = False
            self._changed.wait_for(self._is_woken, self._settle_s)
        self._has_event = False

    def _read(self, *, even_if_same: bool) -> None:
        with self._reading:
            before = self._contents
            contents = _read_folder(self._folder, before)
            if contents.digest == before.digest and not even_if_same:
                return
            with self._changed:
                self._contents = contents
                self._generation += 1
                self._changed.notify_all()
        for name, error in contents.errors.items():
            known = before.errors.get(name)
            if self._on_invalid is not None and (known is None or known.what != error.what):
                self._on_invalid(name, error)


class _Handler(FileSystemEventHandler):
    """Tells of every event that may be a change, whatever the name: editors rename."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Tell of an event unless it is a reading."""
        if event.event_type not in _READING:
            self._tell()


def _read_folder(folder: Path, before: _Contents) -> _Contents:
    """Read every rule file; for one that is invalid take its last valid rule from before."""
    try:
        paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".")
        )
    except OSError as error:
        unreadable = RuleInvalid(f"the folder of rules cannot be read: {_named(error)}")
        return _Contents(rules=before.rules, errors={FOLDER: unreadable}, digest=FOLDER)
    rules: dict[str, Rule] = {}
    errors: dict[str, RuleInvalid] = {}
    digest = hashlib.sha256()
    for path in paths[:_MOST_FILES]:
        try:
            data = _bytes_of(path)
            digest.update(repr((path.name, data)).encode())
            rule = parse_rules(_text_of(data, path.name), name=path.name)
            _check_name(rule, rules)
        except FileNotFoundError:
            continue  # renamed between listing and reading; another event follows
        except RuleInvalid as error:
            errors[path.name] = error
            digest.update(error.what.encode())
            _keep(path.name, before.rules, rules)
        else:
            rules[path.name] = rule
    if len(paths) > _MOST_FILES:
        errors[FOLDER] = RuleInvalid(f"more than {_MOST_FILES} rule files; the rest is not read")
    return _Contents(rules=rules, errors=errors, digest=digest.hexdigest())


def _bytes_of(path: Path) -> bytes:
    """Read at most one byte more than a rule file may have."""
    try:
        with path.open("rb") as stream:
            return stream.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RuleInvalid(f"{path.name}: cannot be read: {_named(error)}") from None


def _text_of(data: bytes, name: str) -> str:
    if len(data) > SIZE_LIMIT:
        raise RuleInvalid(f"{name}: larger than {SIZE_LIMIT // 1024} kB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RuleInvalid(f"{name}, line {line}: not UTF-8 text") from None


def _check_name(rule: Rule, rules: Mapping[str, Rule]) -> None:
    for other in rules.values():
        if other.name == rule.name:
            raise RuleInvalid(f"{rule.source}: name: {rule.name} is taken by {other.source}")


def _keep(name: str, before: Mapping[str, Rule], rules: dict[str, Rule]) -> None:
    """Take over a file's last valid rule unless its name is taken by now."""
    last = before.get(name)
    if last is not None and all(last.name != other.name for other in rules.values()):
        rules[name] = last


def _named(error: OSError) -> str:
    return error.strerror or type(error).__name__
