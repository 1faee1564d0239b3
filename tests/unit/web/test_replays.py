"""POST /replays: each refusal names its field."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.replay.dead_letters.letters import put_dead_letter
from tests.unit.weir.test_peers import HERE, owners
from tests.unit.weir.workers import worker_of
from web.everywhere import Everywhere
from web.replays import ReplaysView
from weir.envelope import Json
from weir.errors import InvalidRequestError
from weir.ranges.checks import TEXT_MAX
from weir.replay.dead_letters.choosing import REASON_MAX
from weir.settings import Settings


async def created(body: Json) -> None:
    log = MemoryLog()
    await put_dead_letter(log, b"no JSON")
    worker = worker_of(log, settings=Settings(replays_max=1))
    view = ReplaysView(worker, {}, Everywhere(worker, owners({HERE: {}})))

    async def read() -> bytes:
        return orjson.dumps({"kind": "dead-letters", "from": "earliest", **body})

    http: Any = SimpleNamespace(read=read, query={}, headers={})
    await view.create(http)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": -1}, "limit"),
        ({"reason": "x" * (REASON_MAX + 1)}, "reason"),
        ({"topic": "chat-request"}, "topic"),
        ({"where": {"uid": "x" * (TEXT_MAX + 1)}}, "where"),
        ({"where": {"uid=a": "b"}}, "where"),
    ],
)
async def test_impossible_conditions_for_dead_letters_are_a_bad_request_that_names_the_field(
    body: Json, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await created(body)
    assert (refused.value.status, refused.value.error["param"]) == (400, field)
