"""Frozen values to JSON and back, by their type hints; nothing else can come out of a row.

Only what the ledger keeps is known: dataclasses, enums of text, tuples, `dict[str, object]`
of plain JSON, aware times, text, numbers and None. There is no pickle and no class name in
the text, so what is read back is always of the type that was asked for.
"""

import json
import struct
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from node.domain.header import Plane

T = TypeVar("T")

_PLANE: Final = struct.Struct("<9d")


def dumps(value: object) -> str:
    """Return the JSON of a frozen value; defaults that are empty are kept too."""
    return json.dumps(to_plain(value), ensure_ascii=True, separators=(",", ":"))


def loads(kind: type[T], text: str) -> T:
    """Return the value of type `kind` that `dumps` wrote.

    Fields that the text does not know take their defaults, unknown ones are left out: an
    older or newer Segnode wrote it. Raises ValueError or TypeError for anything else.
    """
    value: T = from_plain(kind, json.loads(text))
    return value


def to_plain(value: object) -> Any:
    """Return what json.dumps takes."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain(item) for item in value]
    raise TypeError(f"The ledger does not keep values of type {type(value).__name__}.")


def from_plain(kind: Any, plain: Any) -> Any:
    """Return the value of type `kind` from what json.loads gave."""
    return _reader(kind)(plain)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return the function that reads one type; made once for each."""
    kind = getattr(kind, "__supertype__", kind)  # NewType
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return _optional_reader(kind)
    if origin is tuple:
        return _tuple_reader(get_args(kind))
    if origin is dict or kind in {object, Any}:
        return _as_is
    return _plain_type_reader(kind)


def _plain_type_reader(kind: Any) -> Callable[[Any], Any]:
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind is datetime:
        return datetime.fromisoformat
    if issubclass(kind, Enum):
        member: Callable[[Any], Any] = kind
        return member
    return _scalar_reader(kind)


def _as_is(plain: Any) -> Any:
    return plain


def _scalar_reader(kind: type) -> Callable[[Any], Any]:
    def read(plain: Any) -> Any:
        if kind is float and type(plain) is int:
            return float(plain)
        if type(plain) is not kind:
            raise TypeError(f"Expected {kind.__name__}, found {type(plain).__name__}.")
        return plain

    return read


def _optional_reader(kind: Any) -> Callable[[Any], Any]:
    others = [a for a in get_args(kind) if a is not types.NoneType]
    if len(others) != 1:
        raise TypeError("The ledger reads only unions of one type with None.")
    inner = _reader(others[0])
    return lambda plain: None if plain is None else inner(plain)


def _tuple_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(args) == 2 and args[1] is Ellipsis:
        each = _reader(args[0])
        return lambda plain: tuple(each(item) for item in plain)
    readers = [_reader(a) for a in args]
    return lambda plain: tuple(r(item) for r, item in zip(readers, plain, strict=True))


def _dataclass_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {f.name: _reader(hints[f.name]) for f in fields(kind)}

    def read(plain: Any) -> Any:
        return kind(**{n: r(plain[n]) for n, r in readers.items() if n in plain})

    return read


def pack_planes(planes: Sequence[Plane]) -> bytes:
    """Return 72 bytes for each plane: position, then orientation, little-endian doubles."""
    return b"".join(_PLANE.pack(*p.position, *p.orientation) for p in planes)


def unpack_planes(packed: bytes) -> tuple[Plane, ...]:
    """Return the planes that `pack_planes` wrote, bit by bit the same."""
    return tuple(
        Plane(position=(a, b, c), orientation=(d, e, f, g, h, i))
        for a, b, c, d, e, f, g, h, i in _PLANE.iter_unpack(packed)
    )
