"""The owner of a key, as far as this worker knows."""

import pytest
from yarl import URL

from tests.defaults import CHAT_PARTITIONS
from weir.errors import UnavailableError
from weir.log.partitioner import partition_for
from weir.peers import Owners

KEY = b"req-1"
PARTITION = partition_for(KEY, CHAT_PARTITIONS)
OTHERS = [number for number in range(CHAT_PARTITIONS) if number != PARTITION]
HERE, THERE = "http://here:8080", "http://there:8081"


class Router:
    """The owners of partitions; this worker's producer, which knows only topics that it wrote to, is not asked."""

    def __init__(self, shared: dict[str, dict[str, list[int]]]) -> None:
        self._shared = shared

    def table_metadata(self, table: str) -> dict[str, dict[str, list[int]]]:
        del table
        return self._shared

    def tables_metadata(self) -> dict[str, dict[str, list[int]]]:
        return self._shared


def owners(shared: dict[str, dict[str, list[int]]]) -> Owners:
    return Owners(Router(shared), own=HERE, partitions=CHAT_PARTITIONS)


def test_a_key_belongs_to_the_worker_with_its_partition_of_the_changelog() -> None:
    mine = {HERE: {"requests-changelog": [PARTITION]}, THERE: {"requests-changelog": OTHERS}}
    assert owners(mine).of("requests", KEY) is None
    theirs = {HERE: {"requests-changelog": OTHERS}, THERE: {"requests-changelog": [PARTITION]}}
    assert owners(theirs).of("requests", KEY) == URL(THERE)
    assert owners(theirs).all() == {URL(HERE), URL(THERE)}


@pytest.mark.parametrize("shared", [{}, {HERE: {}}, {HERE: {"requests-changelog": OTHERS}}])
def test_while_no_worker_owns_the_partition_the_client_is_asked_to_come_again(
    shared: dict[str, dict[str, list[int]]],
) -> None:
    with pytest.raises(UnavailableError):
        owners(shared).of("requests", KEY)
