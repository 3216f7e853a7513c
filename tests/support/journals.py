"""Instances in a journal, for tests of what receives and settles them."""

from pathlib import Path

from node.store.admit import Incoming
from node.store.journal import Journal

FRAGMENT = 1000


def commit(journal: Journal, incoming: Incoming) -> Path:
    """Receive an instance in fragments, as from a network, and return its file."""
    entry = journal.begin(incoming.arriving)
    whole = memoryview(incoming.data_set)
    for start in range(0, len(whole), FRAGMENT):
        entry.write(whole[start : start + FRAGMENT])
    return entry.commit().path
