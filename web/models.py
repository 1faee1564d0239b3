"""GET /v1/models: the upstream's own list, remembered for a while."""

import asyncio
import time

from aiohttp import web

from answers.envelope import Json
from app.core import Weir
from app.errors import ApiError
from llm.errors import UpstreamError
from web.errors import json_response


class ModelsView:
    """Asks the upstream at most once in ``models_cache_s``, however many clients ask."""

    def __init__(self, app: Weir) -> None:
        self._app = app
        self._asking = asyncio.Lock()
        self._known: Json | None = None
        self._known_at = 0.0

    async def index(self, _http: web.Request) -> web.Response:
        """The models; the upstream's error where it has one."""
        async with self._asking:
            if self._known is None or time.monotonic() - self._known_at > self._app.settings.models_cache_s:
                try:
                    self._known = await self._app.upstream.models()
                except UpstreamError as error:
                    fields = error.error
                    raise ApiError(
                        fields["message"], status=error.status, kind=fields["type"], code=fields["code"]
                    ) from error
                self._known_at = time.monotonic()
        return json_response(self._known)
