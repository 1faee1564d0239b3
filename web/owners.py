"""Ask the worker that owns a key: a table's rows are with the owner of their partition, but any worker must answer."""

import asyncio
from collections.abc import Iterable

import aiohttp
import orjson
from yarl import URL

from app.core import Weir
from weir.envelope import Json
from weir.errors import UnavailableError
from weir.log.partitioner import partition_for

FORWARDED = (
    "X-Weir-Forwarded"  # set on such questions, so that two workers that disagree do not ask each other for ever
)
ASK_TIMEOUT_S = 5.0


class Owners:
    """Where the rows of the other workers are."""

    def __init__(self, app: Weir, session: aiohttp.ClientSession) -> None:
        self._app = app
        self._session = session
        self.own = URL(str(app.conf.canonical_url)).origin()

    def of(self, table: str, key: bytes) -> URL | None:
        """The worker that owns a key; None if it is this one.

        Raises:
            UnavailableError: nobody owns it at the moment: the group is giving out its partitions.
        """
        # Faust's router.key_store asks its producer for the partition, which knows only the topics it has written to.
        partition = partition_for(key, self._app.settings.chat_partitions)
        for url, shared in self._app.router.table_metadata(table).items():
            if any(partition in partitions for partitions in shared.values()):
                owner = URL(str(url)).origin()
                return None if owner == self.own else owner
        raise _nobody()

    def all(self) -> set[URL]:
        """The workers that own partitions."""
        shared = self._app.router.tables_metadata()
        return {URL(str(url)).origin() for url, owned in shared.items() if any(owned.values())}

    async def ask(
        self, worker: URL, path: str, params: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> tuple[int, Json]:
        """Ask another worker for a path: its status and JSON body.

        Raises:
            UnavailableError: it does not answer in time.
        """
        try:
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                self._session.request(
                    method, worker / path.lstrip("/"), params=list(params), headers={FORWARDED: "1"}
                ) as answer,
            ):
                return answer.status, orjson.loads(await answer.read())
        except (TimeoutError, aiohttp.ClientError, orjson.JSONDecodeError) as error:
            raise UnavailableError(
                f"The worker that knows this does not answer ({type(error).__name__}); ask again.", code="owner_away"
            ) from error


def _nobody() -> UnavailableError:
    return UnavailableError("The workers are sharing out their partitions; ask again.", code="rebalancing")
