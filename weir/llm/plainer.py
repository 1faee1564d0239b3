"""Leaves ``stream`` or ``stream_options`` out of a request if the server refuses them and only Weir wants them.

Weir always asks for a stream with usage (docs/decisions/0004). A server that does not know `stream_options` answers
with a 400, and is asked again without them; a server that cannot stream, or not with these options, is asked for one
JSON object if the client asked for one. A model's refusal is remembered for a while, so that it costs one call, not
two.
"""

import re
import time
from dataclasses import dataclass, field
from enum import IntEnum

from weir.envelope import Json
from weir.llm.calls import Call
from weir.llm.errors import UpstreamError, UpstreamRefusedError

KNOWN_S = 600.0  # then the full request is tried again: servers are updated
KNOWN_MAX = 256  # models
_STATUSES = frozenset({400, 404, 405, 415, 422, 501})
_STREAM = re.compile(r"\bstream(?:ing|ed)?\b", re.IGNORECASE)
_OPTIONS = "stream_options"


class Leaves(IntEnum):
    """The parts that are left out of a request."""

    NOTHING = 0
    OPTIONS = 1
    STREAM = 2


@dataclass(frozen=True, slots=True)
class _Known:
    leaves: Leaves
    until: float


@dataclass(slots=True)
class Plainer:
    """The refusals of one server, by model."""

    _known: dict[tuple[str, bool], _Known] = field(default_factory=dict)

    def request(self, body: Json, call: Call) -> Json:
        """The body that is sent to the server."""
        leaves = self._leaves(body, call)
        if leaves is Leaves.STREAM:
            return {**{name: value for name, value in body.items() if name != _OPTIONS}, "stream": False}
        if leaves is Leaves.OPTIONS:
            return {**{name: value for name, value in body.items() if name != _OPTIONS}, "stream": True}
        return {**body, "stream": True, _OPTIONS: {**(body.get(_OPTIONS) or {}), "include_usage": True}}

    def learn(self, request: Json, body: Json, call: Call, error: UpstreamError) -> bool:
        """Whether a refusal means that less should be asked for; if so, later requests ask for less."""
        if not isinstance(error, UpstreamRefusedError) or error.status not in _STATUSES:
            return False
        text = f"{error.error.get('message')} {error.error.get('param')}"
        if _OPTIONS in request and _OPTIONS in text and not body.get(_OPTIONS):
            leaves = Leaves.OPTIONS
        elif request["stream"] and not call.streamed and (_STREAM.search(text) or _OPTIONS in text):
            leaves = Leaves.STREAM
        else:
            return False
        while len(self._known) >= KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[_key(body, call)] = _Known(leaves, time.monotonic() + KNOWN_S)
        return True

    def unlearn(self, body: Json, call: Call, error: UpstreamError) -> None:
        """Forget a refusal learned a moment ago if the plainer request is refused as well: it had another reason."""
        if isinstance(error, UpstreamRefusedError) and error.status in _STATUSES:
            self._known.pop(_key(body, call), None)

    def _leaves(self, body: Json, call: Call) -> Leaves:
        known = self._known.get(_key(body, call))
        return known.leaves if known is not None and time.monotonic() < known.until else Leaves.NOTHING


def _key(body: Json, call: Call) -> tuple[str, bool]:
    return str(body.get("model")), call.streamed
