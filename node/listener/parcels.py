"""Long messages through a port that takes short ones only: cut up, sent in turn, put together.

A step or a commitment of a large study lists thousands of UIDs; a datagram between processes
holds some hundred.
"""

import json
import secrets
import threading
from typing import Final

from node.listener.requests import SUCCESS, Ask, Body

PIECE: Final = 48 * 1024
"""Characters of a piece; what JSON adds keeps it far below the 128 KiB of a datagram."""

MOST_PIECES: Final = 256
MOST_OPEN: Final = 64
"""Messages that are in the middle of coming; of more, the oldest is forgotten."""

KIND: Final = "piece"


def in_pieces(ask: Ask) -> Ask:
    """Return a port that takes a message of any length."""

    def whole(body: Body) -> Body:
        text = json.dumps(body, separators=(",", ":"))
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        if len(pieces) == 1:
            return ask(body)
        name, answer = secrets.token_hex(8), {}
        for number, piece in enumerate(pieces, start=1):
            answer = ask(
                {"kind": KIND, "of": name, "number": number, "last": len(pieces), "text": piece}
            )
            if answer["status"] != SUCCESS:
                break
        return answer

    return whole


class Parcels:
    """Puts pieces together; safe for many threads."""

    def __init__(self) -> None:
        self._open: dict[str, list[str]] = {}
        self._lock: Final = threading.Lock()

    def accept(self, body: Body) -> Body | None:
        """Return the whole message: this one, or what it is the last piece of; else None.

        Raises ValueError for a piece whose earlier ones are not here.
        """
        if body.get("kind") != KIND:
            return body
        with self._lock:
            pieces = self._open.setdefault(body["of"], [])
            pieces.append(body["text"])
            if len(pieces) != body["number"] or len(pieces) > MOST_PIECES:
                del self._open[body["of"]]
                raise ValueError("a message came in pieces that do not fit")
            if body["number"] < body["last"]:
                while len(self._open) > MOST_OPEN:
                    del self._open[next(iter(self._open))]
                return None
            del self._open[body["of"]]
        whole: Body = json.loads("".join(pieces))
        return whole
