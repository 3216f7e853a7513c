"""The body of a request, read piece by piece with limits."""

import asyncio
import contextlib
import time
from typing import Final

from fastapi import Request

DRAINED_BYTES: Final = 1024 * 1024
"""As much of a body is read that nobody wants, so that its sender comes to see the answer."""

DRAINED_S: Final = 2.0


class BodyTooLong(Exception):
    """The body is longer than one may be."""


class SenderGone(Exception):
    """The sender left in the middle of the body."""


class Body:
    """The body of one request, read in the event loop.

    limit_bytes: of the whole; idle_s: between two pieces; limit_s: from now to the last one.
    """

    def __init__(
        self, request: Request, *, limit_bytes: int, idle_s: float, limit_s: float
    ) -> None:
        self._request: Final = request
        self._limit_bytes: Final = limit_bytes
        self._idle_s: Final = idle_s
        self._deadline: Final = time.monotonic() + limit_s
        self.size = 0
        self.is_read = False

    async def piece(self) -> bytes:
        """Return the next piece, which may be empty; with the last one, `is_read` is true.

        Raises BodyTooLong, SenderGone and TimeoutError.
        """
        left_s = self._deadline - time.monotonic()
        async with asyncio.timeout(min(self._idle_s, max(left_s, 0.0))):
            message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise SenderGone
        self.is_read = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        self.size += len(piece)
        if self.size > self._limit_bytes:
            raise BodyTooLong
        return piece

    async def drain(self) -> None:
        """Read a little of what is still to come, unless the sender waits to be asked for it."""
        if "expect" in self._request.headers:
            return
        enough = self.size + DRAINED_BYTES
        with contextlib.suppress(TimeoutError, SenderGone):
            async with asyncio.timeout(DRAINED_S):
                while self.size < enough and not self.is_read:
                    with contextlib.suppress(BodyTooLong):
                        await self.piece()
