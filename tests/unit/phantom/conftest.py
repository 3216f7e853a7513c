"""One head for all tests of the room: it takes some seconds to make."""

import pytest

from node.phantom.head import Head, make_head
from node.phantom.study import StudyFiles, write_study


@pytest.fixture(scope="session")
def head() -> Head:
    return make_head(0)


@pytest.fixture(scope="session")
def study(head: Head, tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return write_study(head, tmp_path_factory.mktemp("phantom"))
