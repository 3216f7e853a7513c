"""/metrics, /healthz and /readyz, served from a thread of `segnode serve`."""

import threading
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse

START_LIMIT_S = 30.0


def make_app(
    render_metrics: Callable[[], tuple[bytes, str]], faults: Callable[[], Sequence[str]]
) -> FastAPI:
    """Build the application.

    render_metrics: the exposition and its content type. faults: why the node is not ready,
    in words without patient data; empty when it is.
    """
    app = FastAPI(title="Segnode", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics")
    def metrics() -> Response:
        content, media_type = render_metrics()
        return Response(content, headers={"Content-Type": media_type})

    @app.get("/healthz")
    def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> Response:
        found = list(faults())
        status = 503 if found else 200
        return JSONResponse({"ready": not found, "faults": found}, status_code=status)

    return app


class HttpServer:
    """An HTTP server in a thread of its own."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app, host=host, port=port, log_level="warning", access_log=False, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)

    def start(self) -> None:
        """Start serving in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and wait for the thread."""
        self._server.should_exit = True
        self._thread.join(START_LIMIT_S)
