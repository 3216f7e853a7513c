"""Fetching one file: over HTTPS only, within bounds, taken up where it broke."""

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from node.domain.errors import DownloadFailed
from node.net.download import DownloadOptions, check_url, download
from tests.support.publisher import Page, Publisher, proxying, publishing

BODY = bytes(range(256)) * 40
PLAIN = DownloadOptions(pause_s=0.0, timeout_s=10.0, plain_hosts=frozenset({"127.0.0.1"}))


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as made:
        yield made


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> DownloadOptions:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return replace(PLAIN, tls=context, plain_hosts=frozenset())


@pytest.fixture(scope="module")
def secure(authority: trustme.CA) -> Iterator[Publisher]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "weights.example.org").configure_cert(context)
    with publishing(context) as made:
        yield made


def get(
    url: str, folder: Path, options: DownloadOptions = PLAIN, most_bytes: int = len(BODY)
) -> bytes:
    download(url, folder / "file", most_bytes=most_bytes, options=options)
    return (folder / "file").read_bytes()


def test_a_file_comes_whole_over_tls(
    secure: Publisher, trusting: DownloadOptions, tmp_path: Path
) -> None:
    assert get(secure.put("/w", Page(body=BODY)), tmp_path, trusting) == BODY


def test_progress_rises_to_the_length(publisher: Publisher, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    url = publisher.put("/w", Page(body=BODY))
    download(
        url,
        tmp_path / "w",
        most_bytes=len(BODY),
        options=PLAIN,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == sorted(told)
    assert told[-1] == (len(BODY), len(BODY))


def test_a_stranger_s_certificate_is_refused_at_once(secure: Publisher, tmp_path: Path) -> None:
    secure.asked.clear()
    with pytest.raises(
        DownloadFailed, match=r"w from 127\.0\.0\.1: its certificate is not trusted"
    ):
        get(secure.put("/w", Page(body=BODY)), tmp_path, replace(PLAIN, attempts=9))
    assert secure.asked == []


def test_a_certificate_of_another_host_is_refused(
    secure: Publisher,
    trusting: DownloadOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with proxying(secure) as (proxy, _):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(DownloadFailed, match="not trusted: Hostname mismatch"):
            get("https://other.example.org/w", tmp_path, trusting)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/w", "file:///etc/passwd", "ftp://example.org/w", "data:,w", "https:///w"],
)
def test_only_https_is_spoken(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="only HTTPS"):
        get(url, tmp_path)


def test_plain_http_is_for_hosts_that_are_named() -> None:
    check_url("http://127.0.0.1/w", frozenset({"127.0.0.1"}))
    with pytest.raises(DownloadFailed):
        check_url("http://127.0.0.1@example.org/w", frozenset({"127.0.0.1"}))


def test_redirections_to_other_hosts_are_followed_over_https(
    secure: Publisher, trusting: DownloadOptions, tmp_path: Path
) -> None:
    secure.put("/real", Page(body=BODY))
    url = secure.put("/w", Page(redirect=secure.url("/real", host="localhost")))
    assert get(url, tmp_path, trusting) == BODY


def test_a_relative_redirection_is_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.put("/deep/real", Page(body=BODY))
    assert get(publisher.put("/deep/w", Page(redirect="real")), tmp_path) == BODY


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:9/w", "file:///etc/passwd", "http://example.org/w"]
)
def test_redirections_away_from_https_are_refused(
    secure: Publisher, trusting: DownloadOptions, tmp_path: Path, target: str
) -> None:
    with pytest.raises(DownloadFailed, match="only HTTPS"):
        get(secure.put("/w", Page(redirect=target)), tmp_path, trusting)


def test_redirections_without_end_are_given_up(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="more than 5 redirections"):
        get(publisher.put("/w", Page(redirect="/w")), tmp_path)
    assert len(publisher.asked) == 6


def test_a_broken_transfer_is_taken_up_where_it_broke(publisher: Publisher, tmp_path: Path) -> None:
    assert get(publisher.put("/w", Page(body=BODY, breaks=[1000, 500])), tmp_path) == BODY
    assert [wanted for _, wanted in publisher.asked] == ["", "bytes=1000-", "bytes=1500-"]


def test_a_server_that_takes_nothing_up_begins_anew(publisher: Publisher, tmp_path: Path) -> None:
    page = Page(body=BODY, breaks=[1000], takes_up=False)
    assert get(publisher.put("/w", page), tmp_path) == BODY


def test_a_transfer_that_always_breaks_is_given_up(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.put("/w", Page(body=BODY, breaks=[10] * 9))
    with pytest.raises(
        DownloadFailed, match=r"broke off after 40 of 10240 bytes \(4 attempts\)"
    ) as raised:
        get(url, tmp_path)
    assert "--from" in raised.value.remedy


def test_a_passing_failure_is_asked_again_and_a_lasting_one_is_not(
    publisher: Publisher, tmp_path: Path
) -> None:
    assert get(publisher.put("/w", Page(body=BODY, statuses=[503, 429])), tmp_path) == BODY
    publisher.asked.clear()
    with pytest.raises(DownloadFailed, match=r"absent from 127\.0\.0\.1: the server answered 404"):
        get(publisher.url("/absent"), tmp_path)
    assert len(publisher.asked) == 1


def test_a_part_that_cannot_be_had_begins_anew(publisher: Publisher, tmp_path: Path) -> None:
    page = Page(body=BODY, breaks=[1000], refuses_parts=True)
    assert get(publisher.put("/w", page), tmp_path) == BODY
    assert [wanted for _, wanted in publisher.asked] == ["", "bytes=1000-", ""]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_that_is_too_long_is_refused(
    publisher: Publisher, tmp_path: Path, tells_length: bool
) -> None:
    url = publisher.put("/w", Page(body=BODY, tells_length=tells_length))
    with pytest.raises(DownloadFailed, match="expected"):
        get(url, tmp_path, most_bytes=len(BODY) - 1)
    assert (tmp_path / "file").stat().st_size < len(BODY)


def test_a_file_whose_length_nobody_tells_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    assert get(publisher.put("/w", Page(body=BODY, tells_length=False)), tmp_path) == BODY


def test_a_transfer_has_an_end_of_its_time(publisher: Publisher, tmp_path: Path) -> None:
    url = publisher.put("/w", Page(body=BODY))
    with pytest.raises(DownloadFailed, match="not done after 0 s"):
        get(url, tmp_path, replace(PLAIN, longest_s=0.0))


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/w"
        with pytest.raises(DownloadFailed, match="timed out"):
            get(url, tmp_path, replace(PLAIN, timeout_s=0.05, attempts=1))


def test_a_closed_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/w"
    with pytest.raises(DownloadFailed, match=r"Connection refused.*\(2 attempts\)"):
        get(url, tmp_path, replace(PLAIN, attempts=2))


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + bytes(9), b""]
)
def test_an_answer_that_is_no_http_is_given_up(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/w"
        with pytest.raises(DownloadFailed):
            get(url, tmp_path, replace(PLAIN, attempts=1), most_bytes=4)
        thread.join()


def test_a_full_disk_is_named_and_not_retried(publisher: Publisher) -> None:
    url = publisher.put("/w", Page(body=BODY))
    with pytest.raises(DownloadFailed, match="cannot be written: No space left"):
        download(url, Path("/dev/full"), most_bytes=len(BODY), options=PLAIN)
    assert len(publisher.asked) == 1


def test_a_folder_that_is_not_there_is_named(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="cannot be written: No such file"):
        get(publisher.put("/w", Page(body=BODY)), tmp_path / "absent")


def test_a_proxy_is_taken_from_the_environment(
    secure: Publisher,
    trusting: DownloadOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secure.put("/w", Page(body=BODY))
    with proxying(secure) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        assert get("https://weights.example.org/w", tmp_path, trusting) == BODY
    assert asked == ["weights.example.org:443"]
