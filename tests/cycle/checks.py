"""What must be true afterwards."""

import asyncio
from collections import Counter, defaultdict

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from answers.envelope import utc_iso
from answers.frames import CLAIMS, Kind, Status
from app import topics
from tests.cycle import views
from tests.cycle.clients import Seen
from tests.cycle.scenario import GROUP, Run
from tests.cycle.table import Check, counted
from tests.cycle.told import Accepted, Told, read_accepted, read_answers
from transports.kafka.client import KafkaLog
from transports.log import Partition, TopicSpec

COMMITTED_WITHIN_S = 30.0
AFTERMATH_S = 1.0  # before and after Kafka's absence: what was being written then may be in doubt


async def check(run: Run) -> tuple[list[Check], str]:
    """The whole table, and the story of each request."""
    log = KafkaLog(run.broker.bootstrap, client_id="cycle")
    await log.start()
    try:
        accepted, problems = await read_accepted(log, run.clients.seen)
        views_say = [await views.rows(run, accepted), await views.stored(run, accepted)]  # waits for the last ones
        problems += await read_answers(log, accepted)
        commits = [await _committed(run, log, topic) for topic in (topics.CHAT_REQUESTS, topics.AGENT_TRACES)]
        dead_letters = await _dead_letters(log)
    finally:
        await log.stop()
    await run.fleet.count_calls()
    table = [
        _events(run),
        _answered(run.clients.seen),
        *_interruptions(run, accepted),
        _lost(run.clients.seen, accepted),
        *_in_log(accepted, problems),
        *views_say,
        *_calls(run, accepted),
        *commits,
        dead_letters,
        views.exits(run),
        *views.logs(run),
    ]
    return table, "\n".join(_story(run, one) for one in accepted)


def _by_client(accepted: list[Accepted]) -> dict[str, list[Accepted]]:
    """What was accepted of each client, by its prompt: more than one where it had no name for it."""
    found = defaultdict[str, list[Accepted]](list)
    for one in accepted:
        found[one.seen.ask.prompt].append(one)
    return found


def _story(run: Run, one: Accepted) -> str:
    seen, ask = one.seen, one.seen.ask
    lines = [
        f"{one.uid} ({ask.name}, {ask.door}, {ask.body['model']}): {_callers(run, seen)}; {seen.problem or 'well'}"
    ]
    lines += [f"asked {utc_iso(seen.began_at)}, answered {utc_iso(seen.done_at)}"]
    for each in seen.interruptions:
        who = each.member.name if each.member else "Kafka"
        lines.append(f"interrupted {utc_iso(each.at)} by {who}: {each.reason}")
    return "\n  ".join([*lines, *one.told.story])


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
    problems = [f"{one.ask.name} ({one.ask.door}): {one.problem}" for one in seen if one.problem]
    value = f"{len(seen) - len(problems)} of {len(seen)} ({counted(doors)})"
    return Check(name="clients that got the expected text", value=value, problems=problems)


def _interruptions(run: Run, accepted: list[Accepted]) -> list[Check]:
    """Clients that had to ask again: because a worker died or was told to stop, or Kafka was away."""
    reasons: Counter[str] = Counter()
    cut, problems, by_client = 0, list[str](), _by_client(accepted)
    for seen in run.clients.seen:
        mine = by_client[seen.ask.prompt]
        excused = any(_held_by_dead(run, one) or _hit_by_outage(run, one) for one in mine)
        for each in seen.interruptions:
            reasons[each.reason] += 1
            cut += each.cut
            if each.cut and not each.excused and not excused:
                who = each.member.name if each.member else "Kafka"
                problems.append(f"{seen.ask.name} ({seen.ask.door}): {each.reason} from {who}")
    return [
        Check(name="clients asked again, for", value=counted(reasons)),
        Check(name="answers cut by a death, a stop or Kafka only", value=cut, problems=problems),
    ]


# -- what stands in the log


def _lost(seen: list[Seen], accepted: list[Accepted]) -> Check:
    """What a client holds a name for is accepted, and what is accepted is answered, even if nobody waits for it."""
    answered = {one.uid for one in accepted if one.told.answers}
    lost = [one.uid or one.ask.name for one in seen if one.uid not in answered]
    lost += [one.uid for one in accepted if one.uid not in answered]
    unread = len(accepted) - len({one.seen.ask.prompt for one in accepted})
    value = f"{len(lost)} of {len(accepted)} accepted, {unread} of which nobody reads any more"
    return Check(name="lost", value=value, problems=lost)


def _in_log(accepted: list[Accepted], problems: list[str]) -> list[Check]:
    ends: Counter[str] = Counter()
    texts = []
    frames: Counter[Kind] = Counter()
    for one in accepted:
        frames.update(one.told.frames)
        ends.update(str(answer.terminal.status) for answer in one.told.answers.values() if answer.terminal)
        problems += [f"{one.uid}: {problem}" for problem in _unsound(one.told)]
        if one.told.text != one.seen.ask.expected:
            texts.append(f"{one.uid}: {one.told.text!r}")
    void = sum(frames[kind] for kind in CLAIMS) - sum(one.told.attempts for one in accepted)
    return [
        Check(name="exactly one counting terminal in the log", value=counted(ends), problems=problems),
        Check(name="text in the log", value=f"{len(accepted) - len(texts)} as expected", problems=texts),
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


def _held_by_dead(run: Run, one: Accepted) -> int:
    """LLM calls of killed workers for a request whose end was not in the log when they died."""
    return sum(
        member.calls[one.seen.ask.prompt]
        for member in run.fleet.members
        if member.killed_at is not None and one.told.ended_at > member.killed_at
    )


def _hit_by_outage(run: Run, one: Accepted) -> bool:
    """Whether a request was under way while Kafka was away: its produces may be in doubt."""
    outage = run.outage
    return one.seen.began_at < outage.ended + AFTERMATH_S and one.told.ended_at > outage.began - AFTERMATH_S


def _calls(run: Run, accepted: list[Accepted]) -> list[Check]:
    """One call for each accepted request, but for what a dead worker held or Kafka's absence put in doubt."""
    calls: Counter[str] = Counter()
    for member in run.fleet.members:
        calls += member.calls
    repeated: Counter[str] = Counter()
    held, hit, problems = 0, 0, list[str]()
    for prompt, mine in _by_client(accepted).items():
        extra = calls[prompt] - len(mine)
        by_dead = max(_held_by_dead(run, one) for one in mine)
        in_outage = sum(_hit_by_outage(run, one) for one in mine)
        attempts = sum(one.told.attempts for one in mine)
        held += by_dead
        hit += in_outage
        repeated["dead" if by_dead else "outage" if in_outage else "other"] += max(0, extra)
        excused = extra > 0 and (extra <= by_dead or in_outage)
        if (extra and not excused) or calls[prompt] > attempts:
            problems.append(f"{mine[0].uid}: {_callers(run, mine[0].seen)}, {attempts} attempts in the log")
    problems += [f"called for {prompt!r}, which nobody asked" for prompt in calls.keys() - _by_client(accepted).keys()]
    by_worker = Counter({member.name: member.calls.total() for member in run.fleet.members})
    return [
        Check(name="LLM calls", value=f"{calls.total()}, by worker: {counted(by_worker)}"),
        Check(name="repeated LLM calls", value=repeated.total(), problems=problems),
        Check(name="  of what the killed worker held", value=f"{repeated['dead']}, it held {held} requests"),
        Check(name="  of what Kafka's restart hit", value=f"{repeated['outage']}, it hit {hit} requests"),
        Check(name="  of any other", value=repeated["other"]),
    ]


def _callers(run: Run, seen: Seen) -> str:
    calls = {member.name: member.calls[seen.ask.prompt] for member in run.fleet.members}
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
