"""The other workers: finds the owner of a key, and asks it over HTTP.

The owner of a partition has the rows of its keys, but any worker must answer.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import aiohttp
import orjson
from yarl import URL

from weir.envelope import Json
from weir.errors import UnavailableError
from weir.log.partitioner import partition_for

FORWARDED = "X-Weir-Forwarded"  # set on such requests, so that two workers that disagree do not ask each other for ever
ASK_TIMEOUT_S = 5.0
CONNECTIONS = 32  # to other workers


class Assignments(Protocol):
    """The partitions of each worker, by its URL: Faust's router."""

    def table_metadata(self, table: str) -> Mapping[Any, Mapping[str, Iterable[int]]]:
        """The partitions of one table, by worker and topic."""

    def tables_metadata(self) -> Mapping[Any, Mapping[str, Iterable[int]]]:
        """The partitions of all tables, by worker and topic."""


class Owners:
    """Finds the workers that own keys, and asks them.

    Args:
        assignments: the partitions of each worker.
        own: this worker's URL.
        partitions: the number of partitions of the tables that are keyed by uid.
    """

    def __init__(self, assignments: Assignments, *, own: str, partitions: int) -> None:
        self._assignments = assignments
        self._partitions = partitions
        self._session: aiohttp.ClientSession | None = None
        self.own = URL(own).origin()

    async def close(self) -> None:
        """Close the connections to the other workers."""
        if self._session is not None:
            await self._session.close()

    def of(self, table: str, key: bytes) -> URL | None:
        """The worker that owns a key; None if it is this one.

        Raises:
            UnavailableError: no worker owns it at the moment: the group is reassigning its partitions.
        """
        # Faust's router.key_store asks its producer for the partition, which knows only topics it has written to.
        partition = partition_for(key, self._partitions)
        for url, shared in self._assignments.table_metadata(table).items():
            if any(partition in partitions for partitions in shared.values()):
                owner = URL(str(url)).origin()
                return None if owner == self.own else owner
        raise _no_worker()

    def all(self) -> set[URL]:
        """The workers that own partitions."""
        shared = self._assignments.tables_metadata()
        return {URL(str(url)).origin() for url, owned in shared.items() if any(owned.values())}

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))
        return self._session

    async def ask(
        self, worker: URL, path: str, params: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> tuple[int, Json]:
        """Ask another worker for a path; returns the status and JSON body.

        Raises:
            UnavailableError: it does not answer in time.
        """
        try:
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                self._connections().request(
                    method, worker / path.lstrip("/"), params=list(params), headers={FORWARDED: "1"}
                ) as answer,
            ):
                return answer.status, orjson.loads(await answer.read())
        except (TimeoutError, aiohttp.ClientError, orjson.JSONDecodeError) as error:
            raise UnavailableError(
                f"The worker that knows this does not answer ({type(error).__name__}); ask again.", code="owner_away"
            ) from error


def _no_worker() -> UnavailableError:
    return UnavailableError("The workers are sharing out their partitions; ask again.", code="rebalancing")
