"""Health and metrics over HTTP."""

from fastapi.testclient import TestClient

from node.web.server import make_app


def client(faults: tuple[str, ...] = ()) -> TestClient:
    return TestClient(make_app(lambda: (b"segnode_up 1\n", "text/plain"), lambda: faults))


def test_a_living_node_is_healthy() -> None:
    assert client().get("/healthz").text == "ok\n"


def test_a_node_without_faults_is_ready() -> None:
    answer = client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "faults": []}


def test_a_node_with_a_fault_is_not_ready_and_says_why() -> None:
    answer = client(("spool: full",)).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["faults"] == ["spool: full"]


def test_a_node_with_a_fault_is_still_alive() -> None:
    assert client(("spool: full",)).get("/healthz").status_code == 200


def test_metrics_are_passed_through_as_they_are() -> None:
    assert client().get("/metrics").text == "segnode_up 1\n"


def test_nothing_else_is_served() -> None:
    assert client().get("/docs").status_code == 404
    assert client().get("/openapi.json").status_code == 404
