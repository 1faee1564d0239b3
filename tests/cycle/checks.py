"""The checks after a run."""

from collections import Counter

from tests.cycle.scenario import GROUP, Run
from tests.fleet import checks, views
from tests.fleet.asks import Ask
from tests.fleet.checks import by_client, callers
from tests.fleet.seen import Seen
from tests.fleet.table import Check, counted
from tests.fleet.told import Accepted, read_accepted, read_answers
from tests.fleet.views import Views
from weir import topics
from weir.chat.frames import FrameKind, Status
from weir.log.kafka.client import KafkaLog

AFTERMATH_S = 1.0  # before and after Kafka's absence: records that were being written then may be in doubt

Request = Accepted[Seen[Ask]]


async def check(run: Run) -> tuple[list[Check], str]:
    """The whole table, and the story of each request."""
    log, ask = KafkaLog(run.broker.bootstrap, client_id="cycle"), Views(run.fleet, run.session)
    await log.start()
    try:
        accepted, problems = await read_accepted(log, run.clients.seen)
        uids = [one.uid for one in accepted]
        rows, stored = await ask.rows(uids), await ask.stored(uids)  # waits for the last ones
        problems += await read_answers(log, accepted)
        commits = [
            await checks.committed(log, run.broker.bootstrap, GROUP, topic)
            for topic in (topics.CHAT_REQUESTS, topics.AGENT_TRACES)
        ]
        dead_letters = await checks.dead_letters(log, [])
    finally:
        await log.stop()
    await run.fleet.count_calls()
    table = [
        _events(run),
        _answered(run.clients.seen),
        *_interruptions(run, accepted),
        checks.lost(run.clients.seen, accepted),
        *checks.in_log(accepted, problems + _conflicts(accepted), lambda _: {Status.COMPLETED}),
        views.states(rows, dict.fromkeys(uids, Status.COMPLETED)),
        views.texts(stored, {one.uid: one.seen.ask.expected for one in accepted}),
        *_calls(run, accepted),
        *commits,
        dead_letters,
        views.exits(run.fleet),
        *views.logs(run.fleet),
    ]
    return table, "\n".join(checks.story(run.fleet, one) for one in accepted)


# -- what clients saw


def _events(run: Run) -> Check:
    """A worker that dies without an LLM call in flight proves nothing."""
    least = int(run.options.density / 2)
    events = [f"{e.at_s:5.1f} s  {e.in_flight:4} in flight  {e.name}: {e.note}" for e in run.events]
    problems = [event for event, e in zip(events, run.events, strict=True) if e.in_flight < least]
    value = f"{len(events)} of them, each with at least {least} in flight"
    return Check(name="what happened", value=value, problems=problems, notes=events)


def _answered(seen: list[Seen[Ask]]) -> Check:
    doors = Counter(str(one.ask.door) for one in seen)
    problems = [f"{one.ask.name} ({one.ask.door}): {one.problem}" for one in seen if one.problem]
    value = f"{len(seen) - len(problems)} of {len(seen)} ({counted(doors)})"
    return Check(name="clients that got the expected text", value=value, problems=problems)


def _interruptions(run: Run, accepted: list[Request]) -> list[Check]:
    """Clients that had to ask again: because a worker died or was stopped, or Kafka was away."""
    reasons: Counter[str] = Counter()
    cut, problems, accepted_of = 0, list[str](), by_client(accepted)
    for seen in run.clients.seen:
        mine = accepted_of[seen.ask.prompt]
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


# -- the log


def _conflicts(accepted: list[Request]) -> list[str]:
    """No client of this cycle sends another body under the same uid."""
    return [f"{one.uid}: a conflict mark" for one in accepted if one.told.frames[FrameKind.CONFLICT]]


# -- how often the LLM was called


def _held_by_dead(run: Run, one: Request) -> int:
    """LLM calls of killed workers for a request whose end was not in the log when they died."""
    return sum(
        member.calls[one.seen.ask.prompt] for member in run.fleet.members if one.told.ended_at > member.killed_at
    )


def _hit_by_outage(run: Run, one: Request) -> bool:
    """Whether a request was under way while Kafka was away: its produces may be in doubt."""
    outage = run.outage
    return one.seen.began_at < outage.ended + AFTERMATH_S and one.told.ended_at > outage.began - AFTERMATH_S


def _calls(run: Run, accepted: list[Request]) -> list[Check]:
    """One call for each accepted request, except calls of a dead worker, or in doubt because of Kafka's absence."""
    calls: Counter[str] = Counter()
    for member in run.fleet.members:
        calls += member.calls
    repeated: Counter[str] = Counter()
    held, hit, problems = 0, 0, list[str]()
    for prompt, mine in by_client(accepted).items():
        extra = calls[prompt] - len(mine)
        by_dead = max(_held_by_dead(run, one) for one in mine)
        in_outage = sum(_hit_by_outage(run, one) for one in mine)
        attempts = sum(one.told.answer.attempts for one in mine)
        held += by_dead
        hit += in_outage
        repeated["dead" if by_dead else "outage" if in_outage else "other"] += max(0, extra)
        excused = extra > 0 and (extra <= by_dead or in_outage)
        if (extra and not excused) or calls[prompt] > attempts:
            problems.append(f"{mine[0].uid}: {callers(run.fleet, prompt)}, {attempts} attempts in the log")
    problems += [
        f"called for {prompt!r}, which no client asked" for prompt in calls.keys() - by_client(accepted).keys()
    ]
    by_worker = Counter({member.name: member.calls.total() for member in run.fleet.members})
    return [
        Check(name="LLM calls", value=f"{calls.total()}, by worker: {counted(by_worker)}"),
        Check(name="repeated LLM calls", value=repeated.total(), problems=problems),
        Check(name="  of what the killed worker held", value=f"{repeated['dead']}, it held {held} requests"),
        Check(name="  of what Kafka's restart hit", value=f"{repeated['outage']}, it hit {hit} requests"),
        Check(name="  of any other", value=repeated["other"]),
    ]
