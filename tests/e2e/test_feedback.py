"""Feedback from both doors becomes one signal each, whenever it comes and whichever worker dies."""

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from tests.e2e.amqp import values
from tests.e2e.conftest import Start
from tests.e2e.test_crash import ended
from tests.e2e.test_streams import begun, cancelled, log_of
from tests.e2e.test_two_workers import both_own
from tests.e2e.workers import Worker, get_json
from tests.unit.demo.helpers import body_of
from weir import envelope, topics
from weir.events.base import derived_id
from weir.log.partitioner import partition_for

REQUESTS = 12  # more than partitions: both workers own some
JOIN_S = 8.0
WITHIN_S = 40.0  # for results on a slow machine

KINDS: list[tuple[str, dict[str, Any], float]] = [  # path, body, score
    ("/v1/feedback", {"feedback_type": "thumbs_up"}, 1),
    ("/v1/feedback", {"feedback_type": "thumbs_down", "comment": "no"}, -1),
    ("/api/v1/feedback/correction", {"data": {"original_sql": "abcd", "corrected_sql": "abXX"}}, -0.25),
    ("/api/v1/feedback/rating", {"rating": 4}, 0.5),
    ("/api/v1/feedback/submit", {"feedback_type": "implicit_accept"}, 0.5),
    ("/api/v1/feedback/submit", {"feedback_type": "implicit_reject"}, -0.3),
    ("/v1/feedback", {"feedback_type": "escalation", "severity": "CRITICAL"}, -1),
]


async def give(worker: Worker, path: str, body: dict[str, Any], status: int = 202) -> Any:
    async with aiohttp.ClientSession() as session, session.post(f"{worker.url}{path}", json=body) as answer:
        told: Any = await answer.json()
        assert answer.status == status, told
        return told


async def ask(worker: Worker, uid: str, prompt: str, model: str = "demo:tokens=3", **more: Any) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions", json=body_of(model, prompt, uid=uid, **more)) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def shown(worker: Worker, uid: str, true: Callable[[Any], bool]) -> Any:
    """GET /v1/feedback/{uid}, as soon as it meets a condition."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = await get_json(f"{worker.url}/v1/feedback/chatcmpl-{uid}", within_s=WITHIN_S)
            if true(found):
                return found
            await asyncio.sleep(0.1)


def states(found: Any) -> Counter[str]:
    return Counter(piece["state"] for piece in found["feedback"])


def sources(found: Any) -> list[str]:
    return [piece["feedback_source"] for piece in found["feedback"]]


async def write(worker: Worker, uid: str, value: bytes, *, away: int = 0) -> None:
    """Write a record to ai-feedback-events as another program would, so many partitions away from its own."""
    async with log_of(worker) as log:
        topic, key = topics.AI_FEEDBACK.name, uid.encode()
        partition = (partition_for(key, log.partitions(topic)) + away) % log.partitions(topic)
        await log.append(topic, partition, key, value)


def submitted(event_id: str, uid: str, **data: Any) -> bytes:
    fields = {"uid": uid, "response_id": f"chatcmpl-{uid}", "feedback_type": "thumbs_up", **data}
    return envelope.encode(event_id, "feedback.submitted", "default", fields)


async def signals(worker: Worker, uids: set[str]) -> Counter[str]:
    """The number of signals for each feedback on some requests; each feedback has one signal id."""
    found = [event for event in await values(worker, "ai-learning-signals") if event["data"]["uid"] in uids]
    ids = {(event["event_id"], event["data"]["feedback_id"]) for event in found}
    assert len(ids) == len({feedback for _, feedback in ids})
    return Counter(event["data"]["feedback_id"] for event in found)


async def test_all_that_can_be_said_of_an_answer_becomes_a_signal_once(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, FEEDBACK_JOIN_S=str(JOIN_S)).start()
    name = f"say-{time.time_ns()}"
    done, slow, left, unknown = (f"{name}-{which}" for which in ("done", "slow", "left", "unknown"))
    await give(worker, "/v1/feedback", {"response_id": unknown, "feedback_type": "thumbs_up"})

    # before the end, and of a request that is not even known yet
    await give(worker, "/v1/feedback", {"response_id": slow, "feedback_type": "thumbs_up", "user_id": "eve"})
    asking = asyncio.create_task(ask(worker, slow, "slow", "demo:tokens=30,delay_ms=50"))
    await write(worker, slow, submitted(f"{name}-early", slow))
    assert states(await shown(worker, slow, lambda found: len(found["feedback"]) == 2))["joined"] == 0
    await begun(worker, body_of("demo:tokens=500,delay_ms=20", "left", uid=left), events=2)
    assert await cancelled(worker, left) == "cancelled"

    # all seven kinds after it, one of them twice, and by Kafka, into the partition of another partitioner
    knight = "Tell me a short story about a brave knight."
    more: dict[str, Any] = {"username": f"ada-{name}", "metadata": {"session_id": name}}
    await ask(worker, done, knight, **more)
    ids = dict[str, float]()
    for number, (path, body, score) in enumerate(KINDS):
        given = {**body, "response_id": f"chatcmpl-{done}", "feedback_id": f"{name}-{number}"}
        told = [await give(worker, path, given) for _ in range(2)]
        assert told[0] == told[1]
        assert (told[0]["object"], told[0]["status"], told[0]["response_id"]) == (
            "feedback",
            "recorded",
            f"chatcmpl-{done}",
        )
        ids[told[0]["id"]] = score
    await write(worker, done, submitted(f"{name}-late", done), away=1)
    ids[f"{name}-late"] = 1
    await give(worker, "/v1/feedback", {"response_id": done, "feedback_type": "rating", "rating": 9}, status=400)
    await write(worker, done, submitted(f"{name}-bad", done, feedback_type="applause"))
    await write(worker, done, f"{name}: no JSON".encode())

    # a user who asks again was not content
    await ask(worker, f"{name}-again", f"Please: {knight}", **more)
    ids[derived_id("retry", "default", done)] = -0.3

    found = await shown(worker, done, lambda found: states(found)["joined"] == len(ids))
    assert {signal["feedback_id"]: signal["score"] for signal in found["signals"]} == ids
    assert sources(found).count("retry") == 1
    await asking
    early = await shown(worker, slow, lambda found: states(found)["joined"] == 2)
    assert {piece.get("user_id") for piece in early["feedback"]} == {"eve", None}
    assert sources(await shown(worker, left, lambda found: states(found)["joined"] == 1)) == ["abandon"]
    assert await signals(worker, {done}) == dict.fromkeys(ids, 1)

    summary: Any = await get_json(f"{worker.url}/api/v1/feedback/summary?session_id={name}")
    assert (summary["count"], summary["joined"], summary["by_type"]["thumbs_up"]) == (len(ids), len(ids), 2)
    assert summary["mean_score"] == round(sum(ids.values()) / len(ids), 6)
    told = await values(worker, "agent-metrics-events")
    quality = [event["data"] for event in told if event["event_type"] == "metrics.quality"]
    assert {one["feedback_id"]: one["score"] for one in quality if one.get("uid") == done} == {
        feedback_id: (score + 1) / 2 for feedback_id, score in ids.items()
    }
    letters = [event["data"] for event in await values(worker, "chat-dead-letters")]
    reasons = {base64.b64decode(one["value"]): one["reason"] for one in letters}
    assert "not JSON" in reasons[f"{name}: no JSON".encode()]
    assert sum("`data.feedback_type`" in reason for value, reason in reasons.items() if name.encode() in value) == 1

    # feedback on an unknown request is given up
    await shown(worker, unknown, lambda found: states(found) == {"expired": 1})
    assert await signals(worker, {unknown}) == {}


async def test_feedback_waits_for_the_end_of_its_request_though_their_worker_dies(
    broker: dict[str, str], make_worker: Start
) -> None:
    env = {**broker, "OPENAI_CONTINUATION": "prefill"}
    dying, telling = make_worker(env), None
    dying.launch()
    if broker:
        telling = make_worker(env)
        telling.launch()
        await telling.up()
    await dying.up()
    if telling is not None:
        await both_own(dying, telling)
    told, name = telling or dying, f"die-{time.time_ns()}"
    uids = [f"{name}-{number}" for number in range(REQUESTS)]
    first = f"{name}-before"
    await ask(dying, first, "before")
    given = [await give(told, "/v1/feedback", {"response_id": first, "feedback_type": "thumbs_up"})]
    await shown(told, first, lambda found: states(found)["joined"] == 1)

    await asyncio.gather(
        *(begun(told, body_of("demo:tokens=100,delay_ms=40", f"die {uid}", uid=uid), events=2) for uid in uids)
    )
    for uid in uids:
        body = {"response_id": uid, "feedback_type": "rating", "rating": 2, "session_id": name}
        given += [await give(told, "/api/v1/feedback/rating", {**body, "feedback_id": uid}) for _ in range(2)]
    for uid in uids[::3]:
        await shown(told, uid, lambda found: states(found) == {"waiting": 1})
    async with asyncio.timeout(WITHIN_S):
        while True:
            summary: Any = await get_json(f"{told.url}/api/v1/feedback/summary?session_id={name}")
            if summary["waiting"] == REQUESTS:  # over all workers
                break
            await asyncio.sleep(0.1)
    assert len(summary["workers"]) == (2 if telling else 1)
    assert "missing_workers" not in summary
    dying.kill()
    if telling is None:
        await dying.start()

    for uid in uids:
        found = await shown(told, uid, lambda found: states(found) == {"joined": 1})
        assert [signal["score"] for signal in found["signals"]] == [-0.5]
        assert (await ended(told, uid))["state"] == "completed"
    assert states(await shown(told, first, lambda _: True)) == {"joined": 1}  # tables survive
    assert set(await signals(told, {first, *uids})) == {one["id"] for one in given}
    again = await give(told, "/api/v1/feedback/rating", {"response_id": uids[0], "rating": 2, "feedback_id": uids[0]})
    before = await signals(told, {uids[0]})
    await asyncio.sleep(1)
    assert await signals(told, {uids[0]}) == before
    assert set(before) == {again["id"]}
