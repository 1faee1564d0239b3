"""The feedback endpoints, with other workers and a log that a test controls."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from yarl import URL

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.feedback.helpers import PIECE, REQUEST, piece
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from tests.unit.weir.test_peers import Router
from tests.unit.weir.workers import FakeMembership, feedback_in_memory, requests_in_memory, worker_of
from web.everywhere import Everywhere
from web.feedback import FeedbackView
from weir.errors import ApiError, NotFoundError, UnavailableError
from weir.feedback import pieces
from weir.feedback.pieces import Piece, Standing
from weir.feedback.summary import Summary
from weir.log.log import LogRefusedError
from weir.peers import FORWARDED, Owners
from weir.settings import Settings

HERE, THERE, GONE = URL("http://here:1"), URL("http://there:2"), URL("http://gone:3")
UP = b'{"response_id": "chatcmpl-req-1", "feedback_type": "thumbs_up"}'


class FakeOwners(Owners):
    def __init__(self) -> None:
        super().__init__(Router({}), own=str(HERE), partitions=CHAT_PARTITIONS)
        self.owner: URL | None = None  # of what is asked for
        self.workers = {HERE}
        self.answers: dict[URL, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any]] = []

    def of(self, table: str, key: bytes) -> URL | None:
        assert (table, key) == ("feedback", b"req-1")
        return self.owner

    def all(self) -> set[URL]:
        return self.workers

    async def ask(
        self, worker: URL, path: str, params: Iterable[tuple[str, str]] = (), *, method: str = "GET"
    ) -> tuple[int, Any]:
        assert method == "GET"
        self.asked.append((path, params))
        if worker not in self.answers:
            raise UnavailableError("away", code="owner_away")
        return self.answers[worker]


class Stage:
    def __init__(self) -> None:
        self.log, self.owners = MemoryLog(), FakeOwners()
        self.requests, self.rows = requests_in_memory(), feedback_in_memory()
        membership = FakeMembership(own=set(range(CHAT_PARTITIONS)))
        worker = worker_of(self.log, membership=membership, settings=Settings(accept_timeout_s=0.05))
        everywhere = Everywhere(worker, self.owners)
        self.view = FeedbackView(worker, self.owners, everywhere, requests=self.requests, rows=self.rows)

    def keep(self, *found: Piece) -> None:
        row = pieces.row_of("req-1", found)
        assert row is not None
        self.rows.put("req-1", row)

    async def post(self, body: bytes = UP, content_type: str = "application/json", **headers: str) -> Any:
        async def read() -> bytes:
            return body

        http = SimpleNamespace(content_type=content_type, headers=headers, read=read)
        return told(await self.view.create(cast("web.Request", http)))

    async def get(self, name: str, headers: dict[str, str] | None = None, **query: str) -> Any:
        path = "/api/v1/feedback/summary"
        http = SimpleNamespace(headers=headers or {}, query=query, match_info={"id": "chatcmpl-req-1"}, path=path)
        return told(await getattr(self.view, name)(http))


def told(answer: web.Response) -> Any:
    return answer.status, orjson.loads(cast("bytes", answer.body))


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_feedback_is_in_the_log_before_it_is_answered(stage: Stage) -> None:
    status, body = await stage.post()
    assert (status, body["status"], body["response_id"]) == (202, "recorded", "chatcmpl-req-1")
    ((record,),) = stage.log.records.values()
    assert orjson.loads(record.value or b"")["event_id"] == body["id"]


async def test_a_log_that_is_away_is_a_503_that_says_how_to_send_it_again(stage: Stage) -> None:
    stage.log.broken = AWAY
    with pytest.raises(UnavailableError) as away:
        await stage.post()
    assert "feedback_id fb-" in str(away.value)
    stage.log.broken, stage.log.appending = None, asyncio.Event()
    with pytest.raises(UnavailableError) as late:
        await stage.post()
    assert (late.value.status, late.value.error["code"]) == (503, "log_unavailable")
    assert "not in time" in str(late.value)


async def test_what_the_log_refuses_is_no_reason_to_come_again(stage: Stage) -> None:
    stage.log.broken = LogRefusedError("too large")
    with pytest.raises(ApiError) as refused:
        await stage.post()
    assert refused.value.status == 500


@pytest.mark.parametrize(("body", "kind", "status"), [(b"{", "application/json", 400), (UP, "text/plain", 415)])
async def test_what_is_no_json_is_refused(stage: Stage, body: bytes, kind: str, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        await stage.post(body, kind)
    assert refused.value.status == status


async def test_feedback_is_shown_to_its_own_tenant_as_long_as_the_request_is_not_known(stage: Stage) -> None:
    with pytest.raises(NotFoundError):
        await stage.get("show")
    stage.keep(PIECE, piece(feedback_id="evt-2", tenant="other"))
    with pytest.raises(NotFoundError):
        await stage.get("show")
    _, body = await stage.get("show", {"X-Tenant-ID": "acme"})
    assert ([one["id"] for one in body["feedback"]], body["request_state"]) == (["evt-1"], None)
    stage.requests.put("req-1", REQUEST)
    _, body = await stage.get("show", {"X-Tenant-ID": "other"})
    assert ([one["id"] for one in body["feedback"]], body["request_state"]) == (["evt-1"], "completed")


async def test_a_row_of_another_worker_is_asked_for_there(stage: Stage) -> None:
    stage.owners.owner, stage.owners.answers = THERE, {THERE: (200, {"uid": "req-1"})}
    assert await stage.get("show", {"X-Tenant-ID": "acme"}) == (200, {"uid": "req-1"})
    assert stage.owners.asked == [("/v1/feedback/req-1", [("tenant", "acme")])]
    stage.owners.answers = {THERE: (503, {})}
    with pytest.raises(UnavailableError):
        await stage.get("show")
    with pytest.raises(UnavailableError):  # two workers that take each other for the owner
        await stage.get("show", {FORWARDED: "1"})


async def test_a_summary_adds_up_all_workers_sums_and_names_workers_that_did_not_answer(stage: Stage) -> None:
    scored = piece(state=Standing.JOINED, signal={"score": 1.0}, session_id="s")
    stage.keep(PIECE, scored, piece(tenant="other", session_id="s"))
    theirs = Summary()
    theirs.add(piece(state=Standing.JOINED, signal={"score": 0.0}))
    stage.owners.workers, stage.owners.answers = {HERE, THERE, GONE}, {THERE: (200, theirs.body)}
    _, body = await stage.get("summary", {"X-Tenant-ID": "acme"})
    assert (body["count"], body["joined"], body["waiting"], body["mean_score"]) == (3, 2, 1, 0.5)
    assert body["missing_workers"] == [str(GONE)]
    _, own = await stage.get("summary", {FORWARDED: "1"}, tenant="acme", session_id="s")
    assert (own["count"], own["joined"]) == (1, 1)
    assert "workers" not in own


@pytest.mark.parametrize("query", [{"tenant": "other"}, {"tenant": "a b"}, {"session_id": "s" * 300}])
async def test_a_summary_of_what_cannot_be_is_refused(stage: Stage, query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as refused:
        await stage.get("summary", {"X-Tenant-ID": "acme"}, **query)
    assert refused.value.status == 400
