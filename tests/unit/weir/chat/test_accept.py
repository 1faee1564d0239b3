"""The common entry of the doors, with a log in memory behind it."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import AWAY, WAIT_S, MemoryLog, tails_of
from weir import envelope, topics
from weir.chat import requests
from weir.chat.accept import Door
from weir.chat.audit import Audit, Caller
from weir.chat.request_writer import RequestWriter
from weir.chat.requests import ChatRequest, chunks_of
from weir.chat.traces import Traces
from weir.chat.validation import CHOICES_MAX
from weir.envelope import Json
from weir.errors import ApiError, InvalidRequestError, UnavailableError
from weir.events.ingress import Ingress
from weir.events.publishing import Events
from weir.log.log import LogRefusedError, Partition, RecordTooLargeError
from weir.log.partitioner import partition_for
from weir.log.tails import Tails
from weir.settings import Settings, load_settings
from weir.telemetry.worker_metrics import Metrics

BODY: Json = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    async with tails_of(log) as tails:
        yield tails


def door(
    log: MemoryLog,
    tails: Tails,
    *,
    own: Collection[int] = (),
    begun: list[tuple[str, int]] | None = None,
    **environ: str,
) -> Door:
    begun = [] if begun is None else begun
    settings: Settings = load_settings({name.upper(): value for name, value in environ.items()})
    events = Events(log)
    traces = Traces(events, worker="w:1")
    return Door(
        log=log,
        tails=tails,
        traces=traces,
        writer=RequestWriter(log, tails, value_max_bytes=settings.record_value_max_bytes),
        audit=Audit(events, settings.default_tenant),
        settings=settings,
        metrics=Metrics(),
        own_partitions=lambda: own,
        begin=lambda request, partition, _published: begun.append((request.uid, partition)),
    )


def published(log: MemoryLog) -> list[ChatRequest]:
    records = [r for at, found in log.records.items() if at.topic == topics.CHAT_REQUESTS.name for r in found]
    return [requests.decode(record.value) for record in records]


def nested(depth: int) -> Json:
    deep: Json = {}
    for _ in range(depth):
        deep = {"a": deep}
    return {**BODY, "x": deep}


async def test_what_accept_returns_is_in_the_log(log: MemoryLog, tails: Tails) -> None:
    body = {**BODY, "uid": "my-uid", "username": "ada", "stream": True, "model": "gpt-5", "x": None}
    request = await door(log, tails).accept(body, ingress=Ingress.RABBITMQ, tenant="acme")
    assert published(log) == [request]
    assert (request.uid, request.tenant, request.ingress) == ("my-uid", "acme", Ingress.RABBITMQ)
    assert (request.username, request.stream) == ("ada", True)
    assert request.body == {**BODY, "stream": True, "model": "gpt-5", "x": None}
    assert request.event_id.startswith("evt-")
    at = Partition(topics.CHAT_REQUESTS.name, partition_for(b"my-uid", CHAT_PARTITIONS))
    assert [record.key for record in log.records[at]] == [b"my-uid"]


async def test_the_same_uid_twice_is_two_submissions_of_one_request(log: MemoryLog, tails: Tails) -> None:
    front = door(log, tails)
    first, second = [await front.accept({**BODY, "uid": "u"}, ingress=Ingress.HTTP) for _ in range(2)]
    assert first.event_id != second.event_id
    assert first.fingerprint == second.fingerprint
    assert chunks_of(log, first.uid) == chunks_of(log, second.uid)


async def test_the_end_of_the_answers_partition_is_read_before_the_request_is_published(
    log: MemoryLog, tails: Tails
) -> None:
    front = door(log, tails)
    at = chunks_of(log, "my-uid")
    for _ in range(3):
        log.put(at, b"other", b"x")
    request = await front.accept({**BODY, "uid": "my-uid"}, ingress=Ingress.HTTP)
    assert request.chunks_from == 3
    assert at == Partition(topics.CHAT_CHUNKS.name, partition_for(b"my-uid", CHAT_PARTITIONS))


@pytest.mark.parametrize("own", [{4}, {0, 5}, set(range(6))])
async def test_a_uid_is_minted_in_a_partition_of_this_worker(log: MemoryLog, tails: Tails, own: set[int]) -> None:
    front = door(log, tails, own=own)
    minted = [await front.accept(BODY, ingress=Ingress.HTTP) for _ in range(20)]
    assert {chunks_of(log, request.uid).partition for request in minted} <= own
    assert len({request.uid for request in minted}) == 20


async def test_a_worker_without_partitions_makes_uids_for_any_partition(log: MemoryLog, tails: Tails) -> None:
    front = door(log, tails)
    minted = [await front.accept(BODY, ingress=Ingress.HTTP) for _ in range(30)]
    assert len({chunks_of(log, request.uid).partition for request in minted}) > 1


async def test_a_partition_that_cannot_be_hit_does_not_stop_the_door(log: MemoryLog, tails: Tails) -> None:
    assert (await door(log, tails, own={99}).accept(BODY, ingress=Ingress.HTTP)).uid


async def test_a_uid_that_the_client_brings_goes_where_its_key_says(log: MemoryLog, tails: Tails) -> None:
    front = door(log, tails, own={partition_for(b"theirs", CHAT_PARTITIONS) ^ 1})
    assert (await front.accept({**BODY, "uid": "theirs"}, ingress=Ingress.HTTP)).uid == "theirs"


async def test_defaults_are_filled_in(log: MemoryLog, tails: Tails) -> None:
    front = door(log, tails, openai_model="llama", default_tenant="house")
    request = await front.accept(BODY, ingress=Ingress.HTTP)
    assert (request.tenant, request.body["model"], request.stream) == ("house", "llama", False)


@pytest.mark.parametrize("tenant", ["", "a b", "a/b", "ü", "x" * 65, "a\n"])
async def test_a_tenant_that_is_no_name_is_refused(log: MemoryLog, tails: Tails, tenant: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await door(log, tails).accept(BODY, ingress=Ingress.HTTP, tenant=tenant)
    assert (caught.value.error["param"], caught.value.error["code"]) == ("X-Tenant-ID", "invalid_tenant")
    assert published(log) == []


@pytest.mark.parametrize(
    "wrong", [{}, [], None, {"messages": []}, {**BODY, "n": CHOICES_MAX + 1}, {**BODY, "uid": "/"}]
)
async def test_what_is_wrong_is_not_published(log: MemoryLog, tails: Tails, wrong: object) -> None:
    with pytest.raises(InvalidRequestError):
        await door(log, tails).accept(wrong, ingress=Ingress.HTTP)
    assert log.records == {}


@pytest.mark.parametrize("depth", [253, 254, 260, 2000])
async def test_a_body_nested_too_deeply_is_refused(log: MemoryLog, tails: Tails, depth: int) -> None:
    with pytest.raises(InvalidRequestError, match="nested too deeply") as caught:
        await door(log, tails).accept(nested(depth), ingress=Ingress.HTTP)
    assert (caught.value.status, caught.value.error["code"]) == (400, "invalid_json")
    assert published(log) == []


async def test_a_body_that_is_nested_deeply_comes_back_as_it_was(log: MemoryLog, tails: Tails) -> None:
    request = await door(log, tails).accept(nested(240), ingress=Ingress.HTTP)
    assert published(log) == [request]


async def test_a_request_that_fits_into_no_record_is_refused(log: MemoryLog, tails: Tails) -> None:
    front = door(log, tails, request_max_bytes="20000", kafka_max_message_bytes="20000")
    large = {"messages": [{"role": "user", "content": "\x01" * 4000}]}  # six bytes each, once they are escaped
    with pytest.raises(InvalidRequestError, match="one record") as caught:
        await front.accept(large, ingress=Ingress.RABBITMQ)
    assert (caught.value.status, caught.value.error["code"]) == (413, "request_too_large")
    assert published(log) == []


@pytest.mark.parametrize("known", [True, False], ids=["known", "lowered meanwhile"])
async def test_a_request_that_its_topic_does_not_take_is_refused(log: MemoryLog, tails: Tails, *, known: bool) -> None:
    if known:
        log.limits[topics.CHAT_REQUESTS.name] = 3000
    else:
        log.fail_append = lambda *_: RecordTooLargeError("chat-requests takes 3000")
    large = {"messages": [{"role": "user", "content": "x" * 3000}]}
    with pytest.raises(InvalidRequestError, match=r"one record: .*(3000|takes 2)") as caught:
        await door(log, tails).accept(large, ingress=Ingress.HTTP)
    assert (caught.value.status, caught.value.error["code"]) == (413, "request_too_large")
    assert published(log) == []


async def test_a_log_that_is_away_is_told_as_unavailable_with_the_uid_to_send_again(
    log: MemoryLog, tails: Tails
) -> None:
    log.fail_append = lambda *_: AWAY
    with pytest.raises(UnavailableError, match=str(AWAY)) as caught:
        await door(log, tails).accept({**BODY, "uid": "mine"}, ingress=Ingress.HTTP)
    assert (caught.value.status, caught.value.error["code"]) == (503, "log_unavailable")
    assert caught.value.error["type"] == "service_unavailable_error"
    assert "uid mine" in str(caught.value)


async def test_a_log_that_refuses_is_no_reason_to_try_again(log: MemoryLog, tails: Tails) -> None:
    log.fail_append = lambda *_: LogRefusedError("not enough brokers")
    with pytest.raises(ApiError, match="not enough brokers") as caught:
        await door(log, tails).accept(BODY, ingress=Ingress.HTTP)
    assert (caught.value.status, caught.value.error["code"]) == (500, "log_refused")


async def test_a_log_that_cannot_be_read_is_told_as_unavailable(log: MemoryLog, tails: Tails) -> None:
    log.broken = AWAY
    with pytest.raises(UnavailableError):
        await door(log, tails).accept(BODY, ingress=Ingress.HTTP)


async def test_a_log_that_confirms_nothing_is_waited_for_as_long_as_set(log: MemoryLog, tails: Tails) -> None:
    log.appending = asyncio.Event()
    with pytest.raises(UnavailableError, match="not in time") as caught:
        await door(log, tails, accept_timeout_s="0.05").accept(BODY, ingress=Ingress.HTTP)
    assert caught.value.status == 503


async def test_an_accepted_request_is_told_in_the_trace(log: MemoryLog, tails: Tails) -> None:
    request = await door(log, tails).accept(
        {**BODY, "uid": "u", "username": "ada"}, ingress=Ingress.HTTP, tenant="acme"
    )
    at = Partition(topics.AGENT_TRACES.name, partition_for(b"u", CHAT_PARTITIONS))
    await log.until(lambda: at in log.records)
    event = envelope.decode(log.values(at)[0])
    assert (event.event_type, event.tenant_id) == ("request.accepted", "acme")
    assert (event.data["uid"], event.data["rid"], event.data["username"]) == ("u", request.event_id, "ada")
    assert event.data["worker"] == "w:1"


async def test_a_trace_that_cannot_be_written_stops_no_request(log: MemoryLog, tails: Tails) -> None:
    log.fail_append = lambda at, _: AWAY if at.topic == topics.AGENT_TRACES.name else None
    front = door(log, tails)
    request = await front.accept(BODY, ingress=Ingress.HTTP)
    assert published(log) == [request]
    await front._traces._events.drain(WAIT_S)
    assert front._traces._events.dropped == {topics.AGENT_TRACES.name: 1}


def test_errors_of_the_api_have_openais_shape() -> None:
    error = ApiError("no", status=418, kind="teapot", param="p", code="c")
    assert error.body == {"error": {"message": "no", "type": "teapot", "param": "p", "code": "c"}}


async def test_only_a_request_that_no_other_client_can_have_sent_is_begun_ahead_of_the_topic(
    log: MemoryLog, tails: Tails
) -> None:
    begun: list[tuple[str, int]] = []
    ours = door(log, tails, begun=begun)
    minted = await ours.accept(BODY, ingress=Ingress.HTTP)
    await ours.accept({**BODY, "uid": "mine"}, ingress=Ingress.HTTP)
    assert begun == [(minted.uid, chunks_of(log, minted.uid).partition)]


@pytest.mark.parametrize(("named", "tenant"), [("acme", "acme"), ("no tenant!", "default"), (None, "default")])
async def test_a_refusal_is_told_to_the_audit(log: MemoryLog, named: str | None, tenant: str) -> None:
    events, error = Events(log), InvalidRequestError("no", code="missing_required")
    Audit(events, "default").refused(Caller(ingress=Ingress.RABBITMQ), error, tenant=named)
    await events.drain(WAIT_S)
    values = [value for at in log.records if at.topic == topics.AUDIT.name for value in log.values(at)]
    (event,) = map(envelope.decode, values)
    assert event.tenant_id == tenant
    assert (event.data["action"], event.data["success"], event.data["error_code"]) == (
        "request.submit",
        False,
        "missing_required",
    )


@pytest.mark.parametrize(
    ("more", "ingress", "setting", "expected"),
    [
        ({}, Ingress.HTTP, "", "cancel"),
        ({"uid": "mine"}, Ingress.HTTP, "", "continue"),
        ({"uid": f"req-{'0' * 32}"}, Ingress.HTTP, "", "cancel"),  # as this request is, whose uid a door minted
        ({}, Ingress.RABBITMQ, "", "continue"),  # no connection reads its answer
        ({"on_disconnect": "auto"}, Ingress.HTTP, "continue", "cancel"),
        ({"on_disconnect": "auto", "uid": "mine"}, Ingress.HTTP, "cancel", "continue"),
        ({"on_disconnect": "continue"}, Ingress.HTTP, "", "continue"),
        ({"on_disconnect": "cancel", "uid": "mine"}, Ingress.HTTP, "", "cancel"),
        ({"on_disconnect": None}, Ingress.HTTP, "auto", "cancel"),
        ({}, Ingress.HTTP, "continue", "continue"),
        ({"uid": "mine"}, Ingress.HTTP, "cancel", "cancel"),
        ({}, Ingress.RABBITMQ, "cancel", "cancel"),
    ],
)
async def test_a_record_says_what_becomes_of_a_request_without_a_reader(
    log: MemoryLog, more: Json, ingress: Ingress, setting: str, expected: str
) -> None:
    async with tails_of(log) as tails:
        request = await door(log, tails, on_disconnect=setting).accept({**BODY, **more}, ingress=ingress)
    assert request.on_disconnect == expected
    assert published(log) == [request]


async def test_a_request_with_an_idempotency_key_goes_on_without_a_reader(log: MemoryLog, tails: Tails) -> None:
    request = await door(log, tails).accept(BODY, ingress=Ingress.HTTP, idempotency_key="k")
    assert request.on_disconnect == "continue"
