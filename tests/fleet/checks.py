"""The checks after a run, whatever its faults."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection

import orjson
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.fleet.fleet import Fleet
from tests.fleet.table import Check, counted
from tests.fleet.told import Accepted, SeenT, Told, read_all
from weir import topics
from weir.chat.frames import CLAIMS, FrameKind, Status
from weir.envelope import utc_iso
from weir.log.kafka.client import KafkaLog
from weir.log.log import Partition
from weir.topics import Topic

COMMITTED_WITHIN_S = 30.0


def by_client(accepted: list[Accepted[SeenT]]) -> dict[str, list[Accepted[SeenT]]]:
    """The accepted requests of each client, by its prompt: more than one if it had no name for them."""
    found = defaultdict[str, list[Accepted[SeenT]]](list)
    for one in accepted:
        found[one.seen.ask.prompt].append(one)
    return found


def callers(fleet: Fleet, prompt: str) -> str:
    """The workers that called the LLM for a prompt."""
    calls = {member.name: member.calls[prompt] for member in fleet.members}
    return "called by " + (", ".join(f"{name} {count} times" for name, count in calls.items() if count) or "no worker")


def story(fleet: Fleet, one: Accepted[SeenT]) -> str:
    """All facts about a request, for finding a defect."""
    seen, ask = one.seen, one.seen.ask
    who = callers(fleet, ask.prompt)
    lines = [f"{one.uid} ({ask.name}, {ask.door}, {ask.body['model']}): {who}; {seen.problem or 'well'}"]
    lines += [f"asked {utc_iso(seen.began_at)}, answered {utc_iso(seen.done_at)}"]
    for each in seen.interruptions:
        by = each.member.name if each.member else "a broker"
        lines.append(f"interrupted {utc_iso(each.at)} by {by}: {each.reason}")
    return "\n  ".join([*lines, *one.told.story])


def lost(seen: list[SeenT], accepted: list[Accepted[SeenT]]) -> Check:
    """A request whose name a client has is accepted, and an accepted one is answered, even without a reader."""
    answered = {one.uid for one in accepted if one.told.status}
    prompts = {one.seen.ask.prompt for one in accepted if one.told.status}
    missing = [one.uid for one in seen if one.uid is not None and one.uid not in answered]
    missing += [one.ask.name for one in seen if one.uid is None and one.ask.prompt not in prompts]
    missing += [one.uid for one in accepted if one.uid not in answered]
    unread = len(accepted) - len({one.seen.ask.prompt for one in accepted})
    value = f"{len(missing)} of {len(accepted)} accepted, {unread} of which no client reads any more"
    return Check(name="lost", value=value, problems=missing)


def in_log(
    accepted: list[Accepted[SeenT]], problems: list[str], ends: Callable[[SeenT], Collection[Status]]
) -> list[Check]:
    """The frames of each request in the log.

    Args:
        accepted: all accepted requests.
        problems: problems found while reading.
        ends: the ends that a request may have.
    """
    found: Counter[str] = Counter()
    texts = []
    frames: Counter[FrameKind] = Counter()
    for one in accepted:
        frames.update(one.told.frames)
        found[str(one.told.status)] += 1
        problems += [f"{one.uid}: {problem}" for problem in _unsound(one.told, ends(one.seen))]
        if not _is_right(one):
            texts.append(f"{one.uid}: {one.told.text!r}")
    void = sum(frames[kind] for kind in CLAIMS) - sum(one.told.answer.attempts for one in accepted)
    return [
        Check(name="exactly one counting terminal in the log", value=counted(found), problems=problems),
        Check(name="text in the log", value=f"{len(accepted) - len(texts)} as expected", problems=texts),
        Check(name="frames", value=counted(Counter({str(kind): count for kind, count in frames.items()}))),
        Check(name="marks that came second (void)", value=void),
    ]


def _unsound(here: Told, ends: Collection[Status]) -> list[str]:
    """The problems of one request's frames."""
    problems = list(here.problems)
    if here.status not in ends:
        problems.append(f"its end is {here.status}")
    if here.answer.gap:
        problems.append("a gap")
    return problems


def _is_right(one: Accepted[SeenT]) -> bool:
    """Whether it has the whole text, or, for an answer that did not complete, its beginning."""
    told, expected = one.told, str(one.seen.ask.expected)
    return told.text == expected if told.status is Status.COMPLETED else expected.startswith(told.text)


async def committed(log: KafkaLog, bootstrap: str, group: str, topic: Topic) -> Check:
    """Commits follow settling: in the end every partition is committed to its end."""
    deadline = asyncio.get_running_loop().time() + COMMITTED_WITHIN_S
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        while True:
            offsets = await admin.list_consumer_group_offsets(group)
            behind = []
            for number in range(log.partitions(topic.name)):
                end = (await log.bounds(Partition(topic.name, number))).end
                found = offsets.get(TopicPartition(topic.name, number))
                if end != (max(found.offset, 0) if found else 0):
                    behind.append(f"partition {number}: committed {found.offset if found else None}, ends at {end}")
            if not behind or asyncio.get_running_loop().time() > deadline:
                count = log.partitions(topic.name)
                value = f"to the end of {count - len(behind)} of {count} partitions"
                return Check(name=f"{topic.name} committed", value=value, problems=behind)
            await asyncio.sleep(0.5)
    finally:
        await admin.close()


async def dead_letters(log: KafkaLog, wanted: Collection[str]) -> Check:
    """Requests that failed for good or expired are dead letters, and no other record is."""
    found: Counter[str] = Counter()
    async for record in read_all(log, topics.CHAT_DEAD_LETTERS):
        data = orjson.loads(record.value or b"{}")["data"]
        found[str(data.get("uid") or f"{data.get('reason')} at {data.get('topic')} {data.get('offset')}")] += 1
    problems = [f"{uid} is unexpected" for uid in found.keys() - set(wanted)]
    problems += [f"{uid} is missing" for uid in set(wanted) - found.keys()]
    return Check(name="dead letters", value=f"{found.total()}, of {len(wanted)} requests", problems=problems)
