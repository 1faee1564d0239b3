"""Replays on both brokers: each request once, whichever process is killed, and without an effect outside the run."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.amqp import Client, new_name
from tests.e2e.commands import Done, ended, faust, killed, launched, run_of
from tests.e2e.conftest import Start
from tests.e2e.test_streams import called, log_of
from tests.e2e.workers import Worker, get_json
from weir import envelope, topics
from weir.chat import requests
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.events.metrics import MetricsTick
from weir.events.signals import SignalsTick
from weir.log.log import LogClient, Partition, Record
from weir.rabbitmq.contract import TENANT_HEADER

REQUESTS = 5000
AT_ONCE = 48  # clients
IN_FLIGHT = 32  # of a run
OTHER = "demo:tokens=7"
REFUSED_EVERY = 100  # requests that fail, both times
OF_THE_CLOCK = {"latency_ms", "ttft_ms"}
WITHIN_S = 240.0
OUTWARD = (
    topics.CHAT_DELIVERIES,
    topics.CHAT_PROMPTS,
    topics.CHAT_DEAD_LETTERS,
    topics.AI_FEEDBACK,
    topics.AI_LEARNING_SIGNALS,
    topics.AI_INSIGHTS,
    topics.QUERY_LINEAGE,
)


def question(n: int, tenant: str) -> dict[str, Any]:
    model = "demo-refuse" if n % REFUSED_EVERY == 0 else f"demo:tokens={4 + n % 9}"
    return {"model": model, "messages": [{"role": "user", "content": f"{tenant} {n}"}], "uid": f"{tenant}-{n}"}


async def recorded(workers: list[Worker], count: int, tenant: str) -> None:
    """Ask so many questions, as clients do; each test has a tenant, because it shares the topics."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(session: aiohttp.ClientSession, n: int) -> None:
        url = f"{workers[n % len(workers)].url}/v1/chat/completions"
        async with turns, session.post(url, json=question(n, tenant), headers={"X-Tenant-ID": tenant}) as answer:
            assert answer.status == (400 if n % REFUSED_EVERY == 0 else 200), await answer.text()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        await asyncio.gather(*(ask(session, n) for n in range(count)))


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await true():
            await asyncio.sleep(0.1)


async def read_all(log: LogClient, topic: str) -> list[Record]:
    found: list[Record] = []
    for number in range(log.partitions(topic)):
        at = Partition(topic, number)
        position, end = 0, (await log.bounds(at)).end
        while position < end and (page := await log.read(at, position, limit=1000)):
            found += page
            position = page[-1].offset + 1
    return found


async def asked_again(log: LogClient, run: str) -> list[ChatRequest]:
    """The requests that a run has put into the topic."""
    found = [requests.decode(record.value) for record in await read_all(log, topics.CHAT_REQUESTS.name)]
    return [request for request in found if request.replay == run]


async def compared(log: LogClient, run: str) -> int:
    return sum(record.key == run.encode() for record in await read_all(log, topics.CHAT_REPLAY_RESULTS.name))


def run_id(text: str) -> str:
    found = re.search(r"run (\S+)", text)
    assert found is not None, text
    return found.group(1)


def pairs(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The pairs of a report, without what differs between runs: names, and the replay's times."""
    of_the_run = {*OF_THE_CLOCK, "attempts"}  # a killed worker's requests have one more
    return [
        {**pair, "uid": "", "replay": {name: value for name, value in pair["replay"].items() if name not in of_the_run}}
        for pair in report["requests"]
    ]


def of_no_clock(report: dict[str, Any]) -> dict[str, Any]:
    """The totals on which two runs must agree."""
    totals = {
        side: {name: value for name, value in report[side].items() if name not in OF_THE_CLOCK}
        for side in ("original", "replay")
    }
    judged = {name: report["judged"][name] for name in report["judged"] if name in {"cost", "output_tokens"}}
    rest = {name: report[name] for name in ("compared", "unknown", "statuses", "similarity", "errors")}
    return {**totals, "judged": judged, **rest}


async def test_5000_requests_are_replayed_once_each_though_the_command_and_a_worker_are_killed(
    broker: dict[str, str], make_worker: Start, upstream: str, tmp_path: Path
) -> None:
    workers = [make_worker(broker) for _ in range(2 if broker else 1)]
    await asyncio.gather(*(worker.start() for worker in workers))
    tenant = new_name("many")
    questions = [f"{tenant} {n}" for n in range(REQUESTS)]
    uids = {f"{tenant}-{n}" for n in range(REQUESTS)}
    await recorded(workers, REQUESTS, tenant)
    chosen = ("--from", "earliest", "--where", f"tenant={tenant}")
    options = ("--model", OTHER, "--concurrency", str(IN_FLIGHT), "--report-dir", str(tmp_path))

    undisturbed = await faust(workers[0], "replay", "requests", *chosen, *options, "--json")
    assert undisturbed.code == 0, undisturbed.err
    expected = orjson.loads(undisturbed.out)
    assert {pair["replay_of"] for pair in expected["requests"]} == uids
    before = await called(upstream)
    assert {before[question] for question in questions} == {2}

    first = launched(workers[0], "replay", "requests", *chosen, *options)
    run = await run_of(first)
    async with log_of(workers[0]) as log:
        await until(lambda: _at_least(log, run, REQUESTS // 5))
        killed(first)
        assert await compared(log, run) < REQUESTS
        second = launched(workers[0], "replay", "requests", "--resume", run, "--report-dir", str(tmp_path))
        await until(lambda: _at_least(log, run, REQUESTS // 2))
        workers[-1].kill()
        await workers[-1].start()
        resumed = await ended(second)
        assert resumed.code == 0, resumed.err
        again = await asked_again(log, run)
    assert len(again) == REQUESTS
    assert {request.replay_of for request in again} == uids

    calls = await called(upstream)
    times = Counter(calls[question] - before[question] for question in questions)
    assert set(times) <= {1, 2}
    assert times[2] <= IN_FLIGHT  # requests in flight on the killed worker
    made = orjson.loads((await faust(workers[0], "replay", "report", run, "--json")).out)
    assert pairs(made) == pairs(expected)
    assert of_no_clock(made) == of_no_clock(expected)
    assert orjson.loads((tmp_path / f"replay-{run}.json").read_bytes()) == made
    assert (tmp_path / f"replay-{run}.html").read_text().startswith("<!doctype html>")


async def _at_least(log: LogClient, run: str, count: int) -> bool:
    return await compared(log, run) >= count


# -- no effect outside


def is_tick(record: Record) -> bool:
    try:
        return envelope.decode(record.value).event_type in {MetricsTick.EVENT_TYPE, SignalsTick.EVENT_TYPE}
    except MalformedRecordError:
        return False


def tenant_of(record: Record) -> str | None:
    """The tenant of a record: windows of other tests close meanwhile."""
    try:
        return envelope.decode(record.value).tenant_id
    except MalformedRecordError:
        return None


async def live_counters(worker: Worker) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All counters of clients' requests."""
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        samples = [sample for family in families for sample in family.samples]
    live = ("traffic", "live")
    of_doors = {"weir_requests_accepted_total", "weir_errors_total", "weir_feedback_total", "weir_window_events_total"}
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for each in samples
        if (live in each.labels.items() or each.name in of_doors) and not each.name.endswith("_created")
    }


async def rows(worker: Worker, uids: list[str]) -> list[object]:
    return [await get_json(f"{worker.url}/requests/{uid}") for uid in uids]


@pytest.mark.rabbitmq
async def test_the_originals_are_untouched_and_nothing_leaves(
    broker: dict[str, str], make_worker: Start, rabbitmq_url: str
) -> None:
    queue, prefix = new_name("replay-in"), new_name("replay-out") + "-"
    rabbit = {"RABBITMQ_URL": rabbitmq_url, "RABBITMQ_QUEUE": queue, "RESPONSE_QUEUE_PREFIX": prefix}
    worker = await make_worker({**broker, **rabbit, "INSIGHT_WINDOW_S": "60"}).start()
    tenant = new_name("untouched")
    await recorded([worker], 120, tenant)
    names = [new_name("queued") for _ in range(20)]
    async with Client.connected(rabbitmq_url, queue) as client, log_of(worker) as log:
        for name in names:
            body = {**question(1, tenant), "uid": name, "stream": True, "username": "ann"}
            await client.send(body, headers={TENANT_HEADER: tenant})
        for name in names:
            await get_json(f"{worker.url}/v1/chat/completions/{name}", within_s=30)

        async def waiting() -> list[int | None]:
            answers = [await client.channel.declare_queue(f"{prefix}{name}", passive=True) for name in names]
            return [answer.declaration_result.message_count for answer in answers]

        async def settled() -> bool:
            return all(await waiting()) and await _quiet(log)

        await until(settled)
        uids = [f"{tenant}-{n}" for n in range(120)] + names
        queues, counters, told = await waiting(), await live_counters(worker), await rows(worker, uids)
        quality = figures(await get_json(f"{worker.url}/quality?tenant={tenant}"))
        assert quality
        seen = {spec.name: set(map(_place, await read_all(log, spec.name))) for spec in OUTWARD}

        done = await faust(worker, "replay", "requests", "--from", "earliest", "--where", f"tenant={tenant}", "--json")
        assert done.code == 0, done.err
        report = orjson.loads(done.out)
        assert report["compared"] == 140
        assert report["similarity"]["identical"] == 138  # the same model gives the same answer; two were refused
        await until(lambda: _quiet(log))

        assert await waiting() == queues
        assert await live_counters(worker) == counters
        assert await rows(worker, uids) == told
        assert figures(await get_json(f"{worker.url}/quality?tenant={tenant}")) == quality
        for spec in OUTWARD:
            new = [record for record in await read_all(log, spec.name) if _place(record) not in seen[spec.name]]
            # ticks belong to no tenant
            assert [record for record in new if tenant_of(record) == tenant] == [], spec.name
        measured = await read_all(log, topics.AGENT_METRICS.name)
        marked = [record for record in measured if ("replay", report["run"]["run_id"].encode()) in record.headers]
        assert len(marked) == 140
        for spec in (topics.AGENT_TRACES, topics.AGENT_DECISIONS, topics.AGENT_THINKING):
            run = report["run"]["run_id"].encode()
            about = [one for one in await read_all(log, spec.name) if (one.key or b"").startswith(b"rpl-" + run)]
            assert about
            assert {dict(one.headers).get("replay") for one in about} == {run}
        listed: Any = await get_json(f"{worker.url}/requests?limit=1000&tenant={tenant}")
        assert {row["uid"] for row in listed["requests"]} == set(uids)


async def _quiet(log: LogClient) -> bool:
    """Whether no record was written for a moment, except ticks."""

    async def seen() -> int:
        records = [record for spec in topics.TOPICS for record in await read_all(log, spec.name)]
        return sum(not is_tick(record) for record in records)

    before = await seen()
    await asyncio.sleep(0.7)
    return await seen() == before


def _place(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


def figures(quality: Any) -> dict[str, Any]:
    """The figures of each window, whether it is open or has closed meanwhile."""
    return {
        f"{model['model']} {window['start']}": {key: value for key, value in window.items() if key != "status"}
        for model in quality["quality"]
        for window in model["windows"]
    }


# -- errors


@pytest.fixture
async def served(broker: dict[str, str], make_worker: Start) -> Worker:
    return await make_worker(broker).start()


@pytest.fixture
async def tenant(served: Worker) -> str:
    """A tenant that has asked five questions."""
    tenant = new_name("few")
    await recorded([served], 5, tenant)
    return tenant


async def replayed(worker: Worker, *options: str) -> Done:
    return await faust(worker, "replay", "requests", *options)


async def test_what_cannot_be_replayed_is_told_in_one_line_with_its_exit_code(served: Worker, tenant: str) -> None:
    assert tenant
    wrong = {
        ("--from", "yesterday"): (2, "--from"),
        ("--from", "earliest", "--where", "colour=red"): (2, "--where"),
        ("--from", "earliest", "--route", "two"): (2, "--route"),
        ("--from", "earliest", "--concurrency", "0"): (2, "--concurrency"),
        ("--from", "0:1,77:3"): (2, "no partition 77"),
        ("--resume", "20260101T000000Z-00000000"): (2, "there is no run"),
        ("--from", "latest"): (3, "no record in this range"),
        ("--from", "earliest", "--where", "tenant=unknown"): (3, "--where"),
    }
    for options, (code, told) in wrong.items():
        done = await replayed(served, *options)
        assert done.code == code, (options, done)
        last = done.err.splitlines()[-1]
        assert last.startswith("weir: "), last
        assert told in last


async def test_a_dry_run_writes_nothing(served: Worker, tenant: str) -> None:
    async with log_of(served) as log:
        await until(lambda: _quiet(log))
        before = {spec.name: set(map(_place, await read_all(log, spec.name))) for spec in topics.TOPICS}
        done = await replayed(served, "--from", "earliest", "--where", f"tenant={tenant}", "--dry-run")
        after = [(spec.name, record) for spec in topics.TOPICS for record in await read_all(log, spec.name)]
    assert done.code == 0
    assert "5 requests would be asked again" in done.out
    new = [(topic, record) for topic, record in after if _place(record) not in before[topic]]
    assert [(topic, record) for topic, record in new if not _is_by_clock(topic, record)] == []


def _is_by_clock(topic: str, record: Record) -> bool:
    """Whether a worker has written a record because time has passed: a tick, or an event of a closed window."""
    return is_tick(record) or topic == topics.AI_INSIGHTS.name


async def test_conditions_choose_by_how_requests_ended(served: Worker, tenant: str) -> None:
    conditions = ("--where", "status=failed", "--where", f"tenant={tenant}")
    done = await replayed(served, "--from", "earliest", *conditions, "--json")
    assert [pair["replay_of"] for pair in orjson.loads(done.out)["requests"]] == [f"{tenant}-0"]


async def test_a_run_that_no_worker_answers_gives_up_and_is_resumed_later(
    served: Worker, tenant: str, tmp_path: Path
) -> None:
    assert await served.stop() == 0
    options = ("--where", f"tenant={tenant}", "--patience", "3", "--report-dir", str(tmp_path))
    done = await replayed(served, "--from", "earliest", *options)
    assert done.code == 5, done.err
    run = run_id(done.err)
    assert f"--resume {run}" in done.err
    await served.start()
    done = await replayed(served, "--resume", run, "--json")
    assert done.code == 0, done.err
    assert orjson.loads(done.out)["compared"] == 5


# -- over HTTP


async def asked(worker: Worker, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    url = f"{worker.url}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, json=body, headers=headers) as answer,
    ):
        kind = answer.content_type
        return answer.status, await (answer.json() if kind == "application/json" else answer.text())


async def over(worker: Worker, run: str) -> Any:
    """A run, once it has ended."""
    async with asyncio.timeout(60):
        while True:
            status, body = await asked(worker, "GET", f"/replays/{run}?requests=true")
            assert status == 200, body
            if body["status"] in {"completed", "failed"}:
                return body
            await asyncio.sleep(0.2)


async def test_a_replay_that_was_begun_over_http_is_the_commands_own(served: Worker, tenant: str) -> None:
    status, begun = await asked(
        served, "POST", "/replays", {"from": "earliest", "where": {"tenant": tenant}, "model": OTHER}
    )
    assert status == 202, begun
    assert begun["status"] == "running"
    told = await over(served, begun["id"])
    assert told["status"] == "completed"
    made = orjson.loads((await faust(served, "replay", "report", begun["id"], "--json")).out)
    assert told["report"] == made
    assert {pair["replay_of"] for pair in made["requests"]} == {f"{tenant}-{n}" for n in range(5)}
    status, page = await asked(served, "GET", f"/replays/{begun['id']}/report")
    assert status == 200
    assert begun["id"] in page
    status, listed = await asked(served, "GET", "/replays", **{"X-Tenant-ID": tenant})
    assert [run["id"] for run in listed["replays"]] == [begun["id"]]


async def test_over_http_too_what_cannot_be_is_told_with_its_field(served: Worker, tenant: str) -> None:
    whose = {"tenant": tenant}
    wrong: list[tuple[object, int, str | None]] = [
        ({"where": whose}, 400, "from"),
        ({"from": "yesterday"}, 400, "from"),
        ({"from": "earliest", "where": {"colour": "red"}}, 400, "where"),
        ({"from": "earliest", "limit": "many"}, 400, "limit"),
        ({"from": "earliest", "speed": 3}, 400, "speed"),
        ({"from": "earliest", "rate": 1e-9}, 400, "rate"),
        ({"from": "earliest", "to": "2020-01-01", "where": {"tenant": "x" * 300}}, 400, "where"),
        ({"from": "2026-11-20", "to": "2026-11-19"}, 400, "to"),
        ({"from": "-99999d"}, 400, "from"),
        ({"from": "latest"}, 404, None),
        ([], 400, None),
    ]
    for body, code, field in wrong:
        status, answer = await asked(served, "POST", "/replays", body)
        assert (status, answer["error"]["param"]) == (code, field), answer
    status, answer = await asked(served, "POST", "/replays", {"from": "-1h", "where": whose}, **{"X-Tenant-ID": "b"})
    assert (status, answer["error"]["param"]) == (400, "where")
    status, _ = await asked(served, "GET", "/replays/20260101T000000Z-00000000")
    assert status == 404


async def test_a_run_that_was_killed_is_resumed_over_http(served: Worker, tenant: str) -> None:
    options = ("--where", f"tenant={tenant}", "--rate", "1", "--concurrency", "1")
    command = launched(served, "replay", "requests", "--from", "earliest", *options)
    run = await run_of(command)
    killed(command)
    status, body = await asked(served, "GET", f"/replays/{run}")
    assert (status, body["status"]) == (200, "unfinished")
    status, body = await asked(served, "POST", f"/replays/{run}/resume")
    assert (status, body["status"]) == (202, "running")
    assert (await over(served, run))["report"]["compared"] == 5


async def test_a_run_is_cancelled_wherever_it_runs(served: Worker, tenant: str) -> None:
    slow = ("--where", f"tenant={tenant}", "--rate", "0.1", "--concurrency", "1")
    command = launched(served, "replay", "requests", "--from", "earliest", *slow)
    run = await run_of(command)
    async with log_of(served) as log:
        await until(lambda: _at_least(log, run, 1))
    status, body = await asked(served, "POST", f"/replays/{run}/cancel")
    assert (status, body["status"]) == (202, "cancelled")
    done = await ended(command)
    assert done.code == 7
    assert done.err.splitlines()[-1] == f"weir: run {run} was cancelled"
    status, body = await asked(served, "POST", f"/replays/{run}/resume")
    assert (status, body["status"]) == (202, "cancelled")


async def test_a_worker_carries_out_so_many_runs_and_they_end_with_it(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker({**broker, "REPLAYS_MAX": "1"}).start()
    tenant = new_name("few")
    await recorded([worker], 5, tenant)
    body = {"from": "earliest", "where": {"tenant": tenant}, "rate": 0.02}
    answers = await asyncio.gather(*(asked(worker, "POST", "/replays", body) for _ in range(4)))
    assert sorted(status for status, _ in answers) == [202, 429, 429, 429]
    (run,) = [answer["id"] for status, answer in answers if status == 202]
    worker.kill()
    await worker.start()
    _, told = await asked(worker, "GET", f"/replays/{run}")
    assert told["status"] == "unfinished"
    async with asyncio.timeout(60):  # its process notices that the worker is gone
        while await asyncio.to_thread(_is_carried_out, run):
            await asyncio.sleep(0.2)


def _is_carried_out(run: str) -> bool:
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path))
    return any(run.encode() in command for command in commands)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


async def test_dead_letters_are_sent_again_over_http(served: Worker, tenant: str) -> None:
    """One of the five was refused, and is refused again."""
    letters = {"kind": "dead-letters", "from": "earliest", "where": {"tenant": tenant}}
    status, begun = await asked(served, "POST", "/replays", letters)
    assert (status, begun["kind"]) == (202, "dead-letters"), begun
    told = await over(served, begun["id"])
    assert (told["status"], told["report"]["sent"]) == ("completed", 1)
    assert told["report"]["requests"]["ends"] == {"failed": 1}
    status, answer = await asked(served, "GET", f"/replays/{begun['id']}/report")
    assert status == 404, answer


async def test_feedback_is_rebuilt_over_http_and_of_all_tenants_only(served: Worker, tenant: str) -> None:
    given = {"response_id": f"{tenant}-1", "feedback_type": "thumbs_up"}
    status, _ = await asked(served, "POST", "/v1/feedback", given, **{"X-Tenant-ID": tenant})
    assert status == 202
    async with log_of(served) as log:
        await until(lambda: _quiet(log))
    rebuild = {"kind": "feedback", "from": "earliest"}
    status, answer = await asked(served, "POST", "/replays", rebuild, **{"X-Tenant-ID": tenant})
    assert (status, answer["error"]["param"]) == (400, "X-Tenant-ID")
    status, begun = await asked(served, "POST", "/replays", rebuild)
    assert (status, begun["kind"]) == (202, "feedback"), begun
    told = await over(served, begun["id"])
    assert told["status"] == "completed"
    assert told["report"]["signals"]["seen"] >= 1
    assert told["report"]["signals"]["changed"] == 0
