"""A retry whose client leaves while its first try is looked for."""

import asyncio
from collections.abc import Iterable

import pytest
from yarl import URL

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.test_peers import Router
from tests.unit.weir.workers import ends_in_memory, requests_in_memory, worker_of
from web.client_retries import ClientRetries
from web.first_tries import FirstTries, RequestIdentity
from weir.chat.lookup import Lookup
from weir.envelope import Json
from weir.errors import UnavailableError
from weir.peers import Owners

ASKED = RequestIdentity("acme", "f1", "split")
HERE, PEER = "http://w:1", "http://127.0.0.1:1"


class Workers(Owners):
    """This worker, and others that are away."""

    def __init__(self, *others: str) -> None:
        owned = {"requests-changelog": [0]}
        super().__init__(Router(dict.fromkeys((HERE, *others), owned)), own=HERE, partitions=CHAT_PARTITIONS)
        self.asked = asyncio.Event()

    async def ask(
        self, worker: URL, path: str, params: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> tuple[int, Json]:
        del worker, path, params, method
        self.asked.set()
        await asyncio.sleep(0.05)
        raise UnavailableError("away")


class SlowRows(Lookup):
    """Rows that never come."""

    def __init__(self, owners: Owners) -> None:
        super().__init__(worker_of(MemoryLog()), owners, requests=requests_in_memory(), ends=ends_in_memory())
        self.asked = asyncio.Event()

    async def row(self, uid: str, *, forwarded: bool = False) -> Json:
        del uid, forwarded
        self.asked.set()
        await asyncio.Event().wait()
        return {}


def retries(owners: Workers, rows: SlowRows, tries: FirstTries) -> ClientRetries:
    """The retries of a worker that generates no answer."""
    return ClientRetries(owners, rows, tries, lambda *_: [])


async def test_a_retry_whose_client_leaves_leaves_its_first_try_to_the_next_one() -> None:
    owners, tries = Workers(), FirstTries(60.0)
    rows = SlowRows(owners)
    tries.left(ASKED, "req-1")
    looking = asyncio.create_task(retries(owners, rows, tries).first_try(ASKED))
    await rows.asked.wait()
    assert tries.without_reader(ASKED) == []
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert tries.without_reader(ASKED) == ["req-1"]


async def test_a_retry_whose_client_leaves_asks_no_other_worker_any_more() -> None:
    before = asyncio.all_tasks()
    owners = Workers(PEER)
    looking = asyncio.create_task(retries(owners, SlowRows(owners), FirstTries(60.0)).first_try(ASKED))
    await owners.asked.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
