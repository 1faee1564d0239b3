"""A retry whose client leaves while its first try is looked for."""

import asyncio
from collections.abc import Iterable

import aiohttp
import pytest
from yarl import URL

from app import app
from web.client_retries import ClientRetries
from web.first_tries import Asked, FirstTries
from web.lookup import Lookup
from web.owners import Owners
from weir.envelope import Json
from weir.errors import UnavailableError

ASKED = Asked("acme", "f1", "split")
PEER = URL("http://127.0.0.1:1")


class Workers(Owners):
    """This worker, and others that are away."""

    def __init__(self, session: aiohttp.ClientSession, *others: URL) -> None:
        super().__init__(app, session)
        self._others = others
        self.asked = asyncio.Event()

    def all(self) -> set[URL]:
        return {self.own, *self._others}

    async def ask(
        self, worker: URL, path: str, params: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> tuple[int, Json]:
        del worker, path, params, method
        self.asked.set()
        await asyncio.sleep(0.05)
        raise UnavailableError("away")


class SlowRows(Lookup):
    """Rows that do not come."""

    def __init__(self, owners: Owners) -> None:
        super().__init__(app, owners)
        self.asked = asyncio.Event()

    async def row(self, uid: str, *, forwarded: bool = False) -> Json:
        del uid, forwarded
        self.asked.set()
        await asyncio.Event().wait()
        return {}


async def test_a_retry_whose_client_leaves_leaves_its_first_try_to_the_next_one() -> None:
    async with aiohttp.ClientSession() as session:
        owners, tries = Workers(session), FirstTries(60.0)
        rows = SlowRows(owners)
        tries.left(ASKED, "req-1")
        looking = asyncio.create_task(ClientRetries(app, owners, rows, tries).first_try(ASKED))
        await rows.asked.wait()
        assert tries.without_reader(ASKED) == []
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
    assert tries.without_reader(ASKED) == ["req-1"]


async def test_a_retry_whose_client_leaves_asks_no_other_worker_any_more() -> None:
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        owners = Workers(session, PEER)
        retries = ClientRetries(app, owners, SlowRows(owners), FirstTries(60.0))
        looking = asyncio.create_task(retries.first_try(ASKED))
        await owners.asked.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
