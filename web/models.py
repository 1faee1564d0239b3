"""GET /v1/models: the upstream's own list, kept for a while."""

import asyncio
import time

from aiohttp import web

from web.errors import json_response
from weir.envelope import Json
from weir.errors import ApiError, UnavailableError, from_terminal
from weir.llm.errors import UpstreamError
from weir.llm.upstream import Upstream

FAILURE_KEPT_S = 1.0  # so that clients that asked meanwhile do not each wait for the same failure


class ModelsView:
    """Asks the upstream at most once in ``models_cache_s``, however many clients ask."""

    def __init__(self, upstream: Upstream, *, kept_s: float) -> None:
        self._upstream, self._kept_s = upstream, kept_s
        self._asking = asyncio.Lock()
        self._known: Json | None = None
        self._failure: ApiError | None = None
        self._good_until = 0.0

    async def index(self, _http: web.Request) -> web.Response:
        """Answer with the models, or with the upstream's error."""
        async with self._asking:
            if time.monotonic() >= self._good_until:
                await self._ask()
        if self._failure is not None or self._known is None:
            raise self._failure or UnavailableError("The model list is not known.")
        return json_response(self._known)

    async def _ask(self) -> None:
        try:
            self._known, self._failure = await self._upstream.models(), None
            keep_s = self._kept_s
        except UpstreamError as error:
            self._failure = from_terminal(error.terminal_error)
            keep_s = FAILURE_KEPT_S
        self._good_until = time.monotonic() + keep_s
