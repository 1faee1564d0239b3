"""``faust -A app export`` beside a real worker: every format holds the requests, the answers and the feedback."""

import asyncio
import os
import pwd
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from pyarrow import parquet as pq

from tests.defaults import SETTINGS
from tests.e2e.amqp import values
from tests.e2e.commands import Done, ended, faust, launched
from tests.e2e.conftest import Start
from tests.e2e.test_feedback import give
from tests.e2e.test_streams import log_of
from tests.e2e.workers import ROOT, Worker
from tests.unit.demo.helpers import TOOLS, body_of
from weir import envelope
from weir.envelope import utc_iso
from weir.log.log import LogClient, Partition, Record, TopicSpec
from weir.settings import load_settings
from weir.topics import AUDIT

PLAIN = 16
LARGE = 20_000  # records of the topic whose writing the test does not await
WITHIN_S = 60.0
NO_ANSWER: dict[str, Any] = {}


@dataclass
class Asked:
    """One request as its client sent it, and the answer."""

    uid: str
    body: dict[str, Any]
    tenant: str = "default"
    message: dict[str, Any] = field(default_factory=dict)  # of the assistant; empty where it failed

    @property
    def example(self) -> dict[str, Any]:
        return self.corrected(self.message)

    def corrected(self, message: dict[str, Any]) -> dict[str, Any]:
        tools = {"tools": self.body["tools"]} if "tools" in self.body else {}
        return {"messages": [*self.body["messages"], message], **tools}


async def export(worker: Worker, *args: str, cwd: Path, **env: str) -> Done:
    return await faust(worker, "export", *args, cwd=cwd, **env)


async def exported(worker: Worker, path: Path, *args: str) -> str:
    """The last line of an export that succeeded."""
    done = await export(worker, *args, "--output", str(path), cwd=path.parent)
    assert done.code == 0, done.err
    return done.err.splitlines()[-1]


def lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def ask(worker: Worker, asked: Asked, *, stream: bool) -> None:
    """Ask by the stock client."""
    send: dict[str, Any] = {
        "model": "",
        "messages": [],
        "extra_body": {**asked.body, "uid": asked.uid, "username": asked.uid},
        "extra_headers": {"X-Tenant-ID": asked.tenant},
    }
    client = worker.client()
    try:
        if stream:
            chunks = await client.chat.completions.create(stream=True, **send)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
            asked.message = {"role": "assistant", "content": text}
        else:
            told = (await client.chat.completions.create(**send)).choices[0].message.model_dump(exclude_unset=True)
            asked.message = {name: told[name] for name in ("role", "content", "tool_calls") if name in told}
    except openai.APIStatusError:
        asked.message = NO_ANSWER


async def conversation(worker: Worker, name: str) -> dict[str, Asked]:
    """About thirty answered requests of all kinds, by their kind."""
    tools = [tool for tool in TOOLS if isinstance(tool, dict) and tool["type"] == "function"]
    asked = {f"plain-{n}": body_of("demo:tokens=12", f"{name} {n}: ä\n\u2028", temperature=0) for n in range(PLAIN)}
    asked |= {f"thinking-{n}": body_of("demo-thinking", f"{name} thinking {n}") for n in range(4)}
    asked |= {f"tags-{n}": body_of("demo-think-tags", f"{name} tags {n}") for n in range(2)}
    asked |= {f"tools-{n}": body_of("demo-tools", f"{name} tools {n}", tools=tools) for n in range(3)}
    asked |= {f"cut-{n}": body_of("demo", f"{name} cut {n}", max_completion_tokens=4) for n in range(2)}
    asked |= {f"refused-{n}": body_of("demo-refuse", f"{name} refused {n}") for n in range(2)}
    asked["acme"] = body_of("demo:tokens=12", f"{name} acme")
    found = {
        kind: Asked(f"{name}-{kind}", body, tenant="acme" if kind == "acme" else "default")
        for kind, body in asked.items()
    }
    streams = [kind for number, kind in enumerate(found) if number % 2 and not kind.startswith("tools")]
    await asyncio.gather(*(ask(worker, one, stream=kind in streams) for kind, one in found.items()))
    return found


async def judge(worker: Worker, asked: Mapping[str, Asked]) -> None:
    """Give feedback of all kinds; see ``examples``."""
    up = {"feedback_type": "thumbs_up"}
    given: list[tuple[str, dict[str, Any]]] = [
        *((kind, up) for kind in ("plain-0", "thinking-0", "tags-1", "tools-0", "cut-0", "refused-0")),
        ("plain-1", {"feedback_type": "thumbs_down"}),
        ("plain-2", {"feedback_type": "rating", "rating": 4}),
        ("plain-3", {"feedback_type": "rating", "rating": 3}),
        *(("plain-4", one) for one in (up, {"feedback_type": "rating", "rating": 2})),
        ("plain-5", {"feedback_type": "implicit_accept"}),
        *(("plain-6", correction(text)) for text in ("no", "better: ü\n")),
        *(("plain-7", one) for one in (correction("right"), {"feedback_type": "thumbs_down"})),
        *(("refused-1", one) for one in [correction("what it should have said")]),
        ("cut-1", correction("the whole of it")),
        ("tools-1", correction("no tool")),
        ("acme", {**up, "tenant_id": "acme"}),
        ("plain-8", {**up, "tenant_id": "acme"}),  # of another tenant than the request's
    ]
    for kind, body in given:
        await give(worker, "/v1/feedback", {"response_id": f"chatcmpl-{asked[kind].uid}", **body})


def correction(text: str) -> dict[str, Any]:
    return {"feedback_type": "correction", "original": "what was said", "corrected": text}


def examples(asked: Mapping[str, Asked]) -> list[dict[str, Any]]:
    corrected = {
        "plain-6": "better: ü\n",
        "plain-7": "right",
        "refused-1": "what it should have said",
        "cut-1": "the whole of it",
        "tools-1": "no tool",
    }
    good = ("plain-0", "plain-2", "thinking-0", "tags-1", "tools-0", "acme")
    return [
        *(asked[kind].example for kind in good),
        *(asked[kind].corrected({"role": "assistant", "content": text}) for kind, text in corrected.items()),
    ]


def in_order(found: list[Any]) -> list[Any]:
    return sorted(found, key=lambda one: orjson.dumps(one, option=orjson.OPT_SORT_KEYS))


async def records(log: LogClient, topic: str, since_s: float) -> list[Record]:
    found: list[Record] = []
    for number in range(log.partitions(topic)):
        at = Partition(topic, number)
        position = await log.offset_at(at, since_s)
        while page := await log.read(at, position):
            found += page
            position = page[-1].offset + 1
    return found


async def test_every_format_says_what_was_asked_and_answered(
    broker: dict[str, str], make_worker: Start, tmp_path: Path
) -> None:
    worker = await make_worker(broker).start()
    name, since_s = f"export-{time.time_ns()}", time.time()
    since = ("--from", utc_iso(since_s))
    asked = await conversation(worker, name)
    assert len(asked) == 30
    assert [kind for kind, one in asked.items() if one.message is NO_ANSWER] == ["refused-0", "refused-1"]
    until = ("--to", utc_iso())
    await judge(worker, asked)  # given after --to, and before now: it counts

    # lines, of requests and of a changelog, which is not one of Weir's topics and has tombstones
    said = await exported(worker, tmp_path / "all.jsonl", "chat-requests", *since, *until)
    size = (tmp_path / "all.jsonl").stat().st_size
    assert said == f"weir: chat-requests: 30 records, {size} bytes, in {tmp_path / 'all.jsonl'}"
    group = load_settings({**worker.env}).kafka_consumer_group
    async with log_of(worker) as log:
        written = await records(log, "chat-requests", since_s)
        chunks = await records(log, "chat-chunks", since_s)
        found = lines(tmp_path / "all.jsonl")
        assert [(one["partition"], one["offset"], one["key"], one["value"]) for one in found] == [
            (one.partition, one.offset, (one.key or b"").decode(), orjson.loads(one.value or b"")) for one in written
        ]
        streamed = {one["key"] for one in found if one["value"]["data"]["stream"]}
        assert {one["key"]: one["value"]["data"]["body"] for one in found} == {
            one.uid: one.body | ({"stream": True} if one.uid in streamed else {}) for one in asked.values()
        }
        changelog = f"{group}-feedback-changelog"
        await exported(worker, tmp_path / "rows.jsonl", changelog, "--from", "earliest")
        rows = {(one["partition"], one["offset"]): one["value"] for one in lines(tmp_path / "rows.jsonl")}
        for one in await records(log, changelog, 0):
            if (one.partition, one.offset) in rows:
                assert rows[one.partition, one.offset] == (None if one.value is None else orjson.loads(one.value))
        assert rows

    # a table, of the tokens
    await exported(worker, tmp_path / "chunks.parquet", "chat-chunks", *since, "--format", "parquet")
    table = pq.read_table(tmp_path / "chunks.parquet").to_pylist()
    assert len(table) == len(chunks) > 100
    for row, record in zip(table, chunks, strict=True):
        event = envelope.decode(record.value)
        assert (row["partition"], row["offset"], row["key"]) == (record.partition, record.offset, event.data["uid"])
        assert row["timestamp"] == datetime.fromtimestamp(round(record.timestamp * 1e6) / 1e6, tz=UTC)
        assert row["event_time"] == datetime.fromisoformat(event.timestamp)
        assert [row[name] for name in ("event_id", "event_type", "tenant_id", "source")] == [*event[:3], event.source]
        assert orjson.loads(row["data"]) == event.data

    # requests that can be asked again
    path = tmp_path / "again.jsonl"
    await exported(worker, path, "chat-requests", *since, "--format", "openai-batch", "--model", "gpt-new")
    assert in_order(lines(path)) == in_order(
        [
            {
                "custom_id": one.uid,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {**one.body, "model": "gpt-new"},
            }
            for one in asked.values()
        ]
    )
    few = await export(worker, "chat-requests", *since, "--format", "openai-batch", cwd=tmp_path)
    assert (few.code, "ask for several models" in few.err) == (2, True)

    # examples for fine-tuning
    tuned = ("chat-requests", *since, *until, "--format", "openai-finetune")
    said = await exported(worker, tmp_path / "good.jsonl", *tuned)
    assert in_order(lines(tmp_path / "good.jsonl")) == in_order(examples(asked))
    assert "11 records" in said
    for why in ("3 rated below --min-score", "1 failed", "1 with an answer that was cut off"):
        assert why in said
    await exported(worker, tmp_path / "acme.jsonl", *tuned, "--where", "tenant=acme")
    assert lines(tmp_path / "acme.jsonl") == [asked["acme"].example]
    await exported(worker, tmp_path / "unrated.jsonl", *tuned, "--all", "--min-score", "0")
    more = [f"plain-{n}" for n in (3, 4, 5, *range(8, PLAIN))]
    more += ["thinking-1", "thinking-2", "thinking-3", "tags-0", "tools-2"]
    assert in_order(lines(tmp_path / "unrated.jsonl")) == in_order(
        [*examples(asked), *(asked[kind].example for kind in more)]
    )

    # the event names the user; and without a worker the export is the same
    audits = [event["data"] for event in await values(worker, "audit-events")]
    exports = [one for one in audits if one["action"] == "topic.export" and one["resource_id"] == "chat-chunks"]
    assert exports[-1]["actor_id"] == pwd.getpwuid(os.getuid()).pw_name
    told = [exports[-1][name] for name in ("audit_type", "actor_type", "ingress")]
    assert told == ["DATA_ACCESS", "USER", "cli"]
    assert await worker.stop() == 0
    for name, args in (("all.jsonl", ("chat-requests", *since, *until)), ("good.jsonl", tuned)):
        await exported(worker, tmp_path / f"alone-{name}", *args)
        assert (tmp_path / f"alone-{name}").read_bytes() == (tmp_path / name).read_bytes()
    out = await export(worker, *tuned, "--output", "-", cwd=tmp_path)
    assert out.out.encode() == (tmp_path / "good.jsonl").read_bytes()


async def test_where_there_is_nothing_to_export_one_line_says_so(
    broker: dict[str, str], make_worker: Start, tmp_path: Path
) -> None:
    worker = await make_worker(broker).start()
    start = utc_iso()
    await ask(worker, Asked("alone", body_of("demo:tokens=3")), stream=False)
    out = tmp_path / "out"
    out.mkdir()
    wrong = [
        (2, "there is no topic 'nope'", ("nope", "--from", start)),
        (3, "has no record in this range", ("chat-requests", "--from", "2026-01-01", "--to", "2026-01-02")),
        (3, "1 without explicit feedback", ("chat-requests", "--from", start, "--format", "openai-finetune")),
    ]
    for code, message, args in wrong:
        done = await export(worker, *args, cwd=out)
        assert (done.code, done.out) == (code, ""), done.err
        last = done.err.splitlines()[-1]
        assert last.startswith("weir: ")
        assert message in last
        assert list(out.iterdir()) == []

    # by its own name, and once
    here = ("chat-requests", "--from", start, "--to", "latest")
    assert (await export(worker, *here, cwd=out)).code == 0
    (path,) = out.iterdir()
    assert path.name == f"chat-requests_{start.replace(':', '-')}_latest.jsonl"
    again = await export(worker, *here, cwd=out)
    assert (again.code, "--force replaces it" in again.err) == (2, True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_what_is_stopped_in_the_middle_leaves_nothing_that_looks_whole(
    broker: dict[str, str], make_worker: Start, tmp_path: Path, how: signal.Signals
) -> None:
    worker = make_worker(broker)
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "data").mkdir()
    async with log_of(worker) as log:
        await log.create_topics([TopicSpec(name="large", partitions=2), AUDIT.spec(SETTINGS)], replication=1)
        if (await log.bounds(Partition("large", 0))).end == 0:
            await asyncio.gather(*(log.append("large", 0, None, b"%d" % n + bytes(2000)) for n in range(LARGE)))
    process = launched(worker, "export", "large", "--from", "earliest", "--output", "large.jsonl", cwd=out)
    deadline = time.monotonic() + WITHIN_S
    while not any(path.stat().st_size > 1 << 20 for path in out.glob("*.partial")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        await asyncio.sleep(0.005)
    process.send_signal(how)
    done = await ended(process)
    assert not (out / "large.jsonl").exists()
    if how is not signal.SIGKILL:
        assert (done.code, list(out.iterdir())) == (130, [])
        assert done.err.splitlines()[-1] == "weir: stopped: nothing whole was written to large.jsonl"


async def test_without_a_log_or_pyarrow_one_line_says_so(make_worker: Start, tmp_path: Path) -> None:
    worker = make_worker({})
    done = await export(worker, "chat-requests", "--from", "earliest", cwd=tmp_path)
    assert (done.code, "there is no embedded log at" in done.err) == (1, True)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pyarrow.py").write_text("raise ImportError\n")
    table = ("chat-requests", "--from", "earliest", "--format", "parquet")
    done = await export(worker, *table, cwd=tmp_path, PYTHONPATH=f"{tmp_path / 'hidden'}:{ROOT}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "make install EXTRAS=parquet" in done.err
