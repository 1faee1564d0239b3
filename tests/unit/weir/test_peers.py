"""Who owns a key, as far as this worker knows."""

from types import SimpleNamespace
from typing import Any

import pytest
from yarl import URL

from tests.defaults import CHAT_PARTITIONS, SETTINGS
from web.owners import Owners
from weir.errors import UnavailableError
from weir.log.partitioner import partition_for

KEY = b"req-1"
PARTITION = partition_for(KEY, CHAT_PARTITIONS)
OTHERS = [number for number in range(CHAT_PARTITIONS) if number != PARTITION]
HERE, THERE = "http://here:8080", "http://there:8081"


def owners(shared: dict[str, dict[str, list[int]]]) -> Owners:
    """Whatever the producer of this worker has written to: it is not asked."""
    router = SimpleNamespace(table_metadata=lambda _: shared, tables_metadata=lambda: shared)
    app: Any = SimpleNamespace(router=router, settings=SETTINGS, conf=SimpleNamespace(canonical_url=HERE))
    session: Any = None
    return Owners(app, session)


def test_a_key_belongs_to_who_has_its_partition_of_the_changelog() -> None:
    mine = {HERE: {"requests-changelog": [PARTITION]}, THERE: {"requests-changelog": OTHERS}}
    assert owners(mine).of("requests", KEY) is None
    theirs = {HERE: {"requests-changelog": OTHERS}, THERE: {"requests-changelog": [PARTITION]}}
    assert owners(theirs).of("requests", KEY) == URL(THERE)
    assert owners(theirs).all() == {URL(HERE), URL(THERE)}


@pytest.mark.parametrize("shared", [{}, {HERE: {}}, {HERE: {"requests-changelog": OTHERS}}])
def test_while_nobody_has_it_the_client_is_asked_to_come_again(shared: dict[str, dict[str, list[int]]]) -> None:
    with pytest.raises(UnavailableError):
        owners(shared).of("requests", KEY)
