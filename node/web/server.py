"""/metrics, /healthz, /readyz and STOW-RS, served from a thread of `segnode serve`."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from node.domain.errors import ConfigurationInvalid
from node.web.patience import patient_protocol

START_LIMIT_S = 30.0
LOOK_S = 0.01
FAREWELL_S = 5
"""Requests that last longer than this after the stop are ended."""


def make_app(
    render_metrics: Callable[[], tuple[bytes, str]],
    faults: Callable[[], Sequence[str]],
    *,
    stow: APIRouter | None = None,
) -> FastAPI:
    """Build the application.

    render_metrics: the exposition and its content type. faults: why the node is not ready,
    in words without patient data; empty when it is. stow: takes objects in, see node.web.stow;
    None: nobody may send any here.
    """
    app = FastAPI(title="Segnode", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics")
    def metrics() -> Response:
        content, media_type = render_metrics()
        return Response(content, headers={"Content-Type": media_type})

    @app.get("/healthz")
    async def healthz() -> Response:
        """Answer from the loop: all threads may be waiting for the ledger."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> Response:
        found = list(faults())
        status = 503 if found else 200
        return JSONResponse({"ready": not found, "faults": found}, status_code=status)

    if stow is not None:
        app.include_router(stow)
    return app


class HttpServer:
    """An HTTP server in a thread of its own."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=patient_protocol(),
            ws="none",
            # Whoever stands before the port could claim any address.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=FAREWELL_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def _serve(self) -> None:
        # uvicorn leaves the program when it cannot bind; `start` says so instead.
        with suppress(SystemExit):
            self._server.run()

    def start(self) -> None:
        """Serve in the background; return when the port is bound.

        Raises ConfigurationInvalid when it cannot be.
        """
        self._thread.start()
        limit = time.monotonic() + START_LIMIT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > limit:
                host, port = self._server.config.host, self._server.config.port
                message = f"HTTP: {host}:{port} cannot be listened on"
                raise ConfigurationInvalid(message)
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.should_exit = True
        self._thread.join(START_LIMIT_S)
