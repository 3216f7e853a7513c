"""STOW-RS and the drop folder of a real `segnode serve`, opened by its configuration."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.domain.ids import SOPInstanceUID, StudyInstanceUID
from tests.support.dicom_objects import encode, mr_dataset, write_file
from tests.support.node import Running, a_node, wait_until_listening
from tests.support.peers import free_port, wait_until
from tests.support.stow import an_image, multipart, post

STUDY = StudyInstanceUID(mr_dataset().StudyInstanceUID)
LIMIT_S = 60.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "drop").mkdir()
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    http = {
        "host": "127.0.0.1",
        "port": free_port(),
        "stow_from": ["127.0.0.1"],
        "stow_token_file": "token",
    }
    with a_node(tmp_path, free_port(), http=http, drop={"folder": "drop"}) as made:
        made.start("serve")
        wait_until_listening(made)
        yield made


def wait_for_images(node: Running, count: int) -> None:
    def are_there() -> bool:
        story = node.ledger.stories.story(STUDY)
        return story is not None and story.instances == count

    wait_until(are_there, f"{count} images are in the ledger", LIMIT_S)


def test_what_is_posted_is_stored_and_the_token_is_asked_for(node: Running) -> None:
    port = node.settings.http.port
    body = multipart(an_image(number) for number in range(1, 21))
    assert post(port, body).status == 401
    answer = post(port, body, headers={"Authorization": "Bearer secret"})
    assert answer.status == 200
    wait_for_images(node, 20)
    found = node.ledger.intake.find_instance(SOPInstanceUID(mr_dataset(7).SOPInstanceUID))
    assert found is not None
    content = (node.folder / "spool" / found.path).read_bytes()
    assert content.endswith(encode(mr_dataset(7)))


def test_what_is_dropped_is_stored_over_a_kill_too(node: Running) -> None:
    drop = node.folder / "drop"
    for number in range(1, 301):
        write_file(drop / f"{number}.dcm", mr_dataset(number))
    wait_until(lambda: len(list(drop.iterdir())) < 280, "some are taken", LIMIT_S)
    node.kill("serve")
    node.start("serve")
    wait_for_images(node, 300)
    wait_until(lambda: not list(drop.iterdir()), "all are removed", LIMIT_S)
    story = node.story(STUDY)
    assert story.refusals == ()
    node.signal("serve", signal.SIGTERM)
    assert node.processes["serve"].wait(60) == 0
