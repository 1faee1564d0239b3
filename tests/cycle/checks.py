"""What must be true afterwards."""

import asyncio
from collections import Counter

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from answers.envelope import utc_iso
from answers.frames import CLAIMS, Kind, Status
from app import topics
from tests.cycle import views
from tests.cycle.clients import Interruption, Seen
from tests.cycle.scenario import GROUP, Run
from tests.cycle.table import Check, counted
from tests.cycle.told import Told, read_all
from transports.kafka.client import KafkaLog
from transports.log import Partition, TopicSpec

COMMITTED_WITHIN_S = 30.0
AFTERMATH_S = 1.0  # before and after Kafka's absence: what was being written then may be in doubt


async def check(run: Run) -> tuple[list[Check], str]:
    """The whole table, and the story of each request."""
    seen = run.clients.seen
    log = KafkaLog(run.broker.bootstrap, client_id="cycle")
    await log.start()
    try:
        views_say = [await views.rows(run), await views.stored(run)]
        commits = [await _committed(run, log, topic) for topic in (topics.CHAT_REQUESTS, topics.AGENT_TRACES)]
        told, strangers = await read_all(log, (one.ask.uid for one in seen))
        dead_letters = await _dead_letters(log)
    finally:
        await log.stop()
    await run.fleet.count_calls()
    table = [
        _events(run),
        _answered(seen),
        *_interruptions(run, told),
        *_in_log(seen, told, strangers),
        *views_say,
        *_calls(run, told),
        *commits,
        dead_letters,
        views.exits(run),
        *views.logs(run),
    ]
    return table, "\n".join(_story(run, one, told[one.ask.uid]) for one in seen)


def _story(run: Run, one: Seen, told: Told) -> str:
    lines = [f"{one.ask.uid} ({one.ask.door}, {one.ask.body['model']}): {_callers(run, one)}; {one.problem or 'well'}"]
    lines += [f"asked {utc_iso(one.began_at)}, answered {utc_iso(one.done_at)}"]
    for each in one.interruptions:
        who = each.member.name if each.member else "Kafka"
        lines.append(f"interrupted {utc_iso(each.at)} by {who}: {each.reason}")
    return "\n  ".join([*lines, *told.story])


# -- what clients saw


def _events(run: Run) -> Check:
    """A worker that dies with nothing in its hands proves nothing."""
    least = int(run.options.density / 2)
    events = [f"{e.at_s:5.1f} s  {e.in_flight:4} in flight  {e.name}: {e.note}" for e in run.events]
    problems = [event for event, e in zip(events, run.events, strict=True) if e.in_flight < least]
    value = f"{len(events)} of them, each with at least {least} in flight"
    return Check(name="what happened", value=value, problems=problems, notes=events)


def _answered(seen: list[Seen]) -> Check:
    doors = Counter(str(one.ask.door) for one in seen)
    problems = [f"{one.ask.uid} ({one.ask.door}): {one.problem}" for one in seen if one.problem]
    value = f"{len(seen) - len(problems)} of {len(seen)} ({counted(doors)})"
    return Check(name="clients that got the expected text", value=value, problems=problems)


def _interruptions(run: Run, told: dict[str, Told]) -> list[Check]:
    """Clients that had to ask again: because a worker died or was told to stop, or Kafka was away."""
    reasons: Counter[str] = Counter()
    cut, problems = 0, []
    for one in run.clients.seen:
        for interruption in one.interruptions:
            reasons[interruption.reason] += 1
            cut += interruption.cut
            if interruption.cut and not _excused(run, one, interruption, told[one.ask.uid]):
                who = interruption.member.name if interruption.member else "Kafka"
                problems.append(f"{one.ask.uid} ({one.ask.door}): {interruption.reason} from {who}")
    return [
        Check(name="clients asked again, for", value=counted(reasons)),
        Check(name="answers cut by a death or Kafka's restart only", value=cut, problems=problems),
    ]


def _excused(run: Run, one: Seen, interruption: Interruption, told: Told) -> bool:
    return interruption.excused or _held_by_dead(run, one, told) > 0 or _hit_by_outage(run, one, told)


# -- what stands in the log


def _in_log(seen: list[Seen], told: dict[str, Told], strangers: list[str]) -> list[Check]:
    lost = [one.ask.uid for one in seen if not told[one.ask.uid].answers]
    ends: Counter[str] = Counter()
    problems, texts = list(strangers), []
    frames: Counter[Kind] = Counter()
    for one in seen:
        uid, here = one.ask.uid, told[one.ask.uid]
        frames.update(here.frames)
        terminals = [answer.terminal for answer in here.answers.values() if answer.terminal is not None]
        ends.update(str(terminal.status) for terminal in terminals)
        problems += [f"{uid}: {problem}" for problem in _unsound(here)]
        if here.text != one.ask.expected:
            texts.append(f"{uid}: {here.text!r}")
    void = sum(frames[kind] for kind in CLAIMS) - sum(here.attempts for here in told.values())
    return [
        Check(name="lost", value=len(lost), problems=lost),
        Check(name="exactly one counting terminal in the log", value=counted(ends), problems=problems),
        Check(name="text in the log", value=f"{len(seen) - len(texts)} as expected", problems=texts),
        Check(name="frames", value=counted(Counter({str(kind): count for kind, count in frames.items()}))),
        Check(name="marks that came second (void)", value=void),
    ]


def _unsound(here: Told) -> list[str]:
    """What is wrong with one request's frames."""
    problems = list(here.problems)
    ended = [answer.terminal.status for answer in here.answers.values() if answer.terminal is not None]
    if len(here.answers) != 1 or here.terminals != 1 or ended != [Status.COMPLETED]:
        problems.append(f"{len(here.answers)} identities, {here.terminals} counting terminals: {ended}")
    if any(answer.gap for answer in here.answers.values()):
        problems.append("a gap")
    if here.frames[Kind.CONFLICT]:
        problems.append("a conflict mark")
    return problems


# -- how often the LLM was called


def _held_by_dead(run: Run, one: Seen, told: Told) -> int:
    """LLM calls of killed workers for a request whose end was not in the log when they died."""
    return sum(
        member.calls[one.ask.prompt]
        for member in run.fleet.members
        if member.killed_at is not None and told.ended_at > member.killed_at
    )


def _hit_by_outage(run: Run, one: Seen, told: Told) -> bool:
    """Whether a request was under way while Kafka was away: its produces may be in doubt."""
    outage = run.outage
    return one.began_at < outage.ended + AFTERMATH_S and told.ended_at > outage.began - AFTERMATH_S


def _calls(run: Run, told: dict[str, Told]) -> list[Check]:
    calls: Counter[str] = Counter()
    for member in run.fleet.members:
        calls += member.calls
    repeated: Counter[str] = Counter()
    held, hit, problems = 0, 0, list[str]()
    for one in run.clients.seen:
        here, times = told[one.ask.uid], calls[one.ask.prompt]
        by_dead, in_outage = _held_by_dead(run, one, here), _hit_by_outage(run, one, here)
        held += by_dead > 0
        hit += in_outage
        repeated["dead" if by_dead else "outage" if in_outage else "other"] += max(0, times - 1)
        excused = (by_dead > 0 and times == 2) or (in_outage and times > 1)
        if (times != 1 and not excused) or times > here.attempts:
            problems.append(f"{one.ask.uid}: {_callers(run, one)}, {here.attempts} attempts in the log")
    asked = {one.ask.prompt for one in run.clients.seen}
    problems += [f"called for {prompt!r}, which nobody asked" for prompt in calls if prompt not in asked]
    by_worker = Counter({member.name: member.calls.total() for member in run.fleet.members})
    return [
        Check(name="LLM calls", value=f"{calls.total()}, by worker: {counted(by_worker)}"),
        Check(name="repeated LLM calls", value=repeated.total(), problems=problems),
        Check(name="  of what the killed worker held", value=f"{repeated['dead']}, it held {held} requests"),
        Check(name="  of what Kafka's restart hit", value=f"{repeated['outage']}, it hit {hit} requests"),
        Check(name="  of any other", value=repeated["other"]),
    ]


def _callers(run: Run, one: Seen) -> str:
    calls = {member.name: member.calls[one.ask.prompt] for member in run.fleet.members}
    return "called by " + (", ".join(f"{name} {count} times" for name, count in calls.items() if count) or "nobody")


# -- what is left behind


async def _committed(run: Run, log: KafkaLog, topic: TopicSpec) -> Check:
    """Commits follow settling: in the end there is nothing left to do, in no partition."""
    deadline = asyncio.get_running_loop().time() + COMMITTED_WITHIN_S
    admin = AIOKafkaAdminClient(bootstrap_servers=run.broker.bootstrap)
    await admin.start()
    try:
        while True:
            committed = await admin.list_consumer_group_offsets(GROUP)
            behind = []
            for number in range(topic.partitions):
                end = (await log.bounds(Partition(topic.name, number))).end
                found = committed.get(TopicPartition(topic.name, number))
                if end != (max(found.offset, 0) if found else 0):
                    behind.append(f"partition {number}: committed {found.offset if found else None}, ends at {end}")
            if not behind or asyncio.get_running_loop().time() > deadline:
                value = f"to the end of {topic.partitions - len(behind)} of {topic.partitions} partitions"
                return Check(name=f"{topic.name} committed", value=value, problems=behind)
            await asyncio.sleep(0.5)
    finally:
        await admin.close()


async def _dead_letters(log: KafkaLog) -> Check:
    spec = topics.CHAT_DEAD_LETTERS
    ends = [(await log.bounds(Partition(spec.name, number))).end for number in range(spec.partitions)]
    problems = [f"{sum(ends)} records in {spec.name}"] if any(ends) else []
    return Check(name="dead letters", value=sum(ends), problems=problems)
