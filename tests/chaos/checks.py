"""The checks after a run: the promises P1 to P4, from the clients' side and from the log."""

from collections import Counter
from collections.abc import Collection, Iterator

from tests.chaos.http import EXPIRED
from tests.chaos.mailboxes import Letter
from tests.chaos.scenario import GRACE_S, GROUP, LEASE_S, Run
from tests.chaos.seen import Watched, Whole
from tests.fleet import checks, views
from tests.fleet.checks import by_client, callers
from tests.fleet.fleet import Member
from tests.fleet.stream import Reading
from tests.fleet.table import Check, counted
from tests.fleet.told import Accepted, Told, read_accepted, read_answers
from tests.fleet.views import Views
from weir import topics
from weir.chat.frames import FrameKind, Status
from weir.log.kafka.client import KafkaLog

AFTERMATH_S = 1.0  # before and after Kafka's absence: records that were being written then may be in doubt
SETTLED = (topics.CHAT_REQUESTS, topics.CHAT_DELIVERIES, topics.AGENT_TRACES)

Request = Accepted[Watched]


async def check(run: Run) -> tuple[list[Check], str]:
    """The whole table, and the story of each request."""
    log, ask, seen = KafkaLog(run.kafka.bootstrap, client_id="chaos"), Views(run.fleet, run.session), run.clients.seen
    await log.start()
    try:
        accepted, problems = await read_accepted(log, seen)
        uids = [one.uid for one in accepted]
        rows, stored = await ask.rows(uids), await ask.stored(uids)  # waits for the last ones
        problems += await read_answers(log, accepted)
        commits = [await checks.committed(log, run.kafka.bootstrap, GROUP, topic) for topic in SETTLED]
        expired = [one.uid for one in accepted if one.told.status is Status.EXPIRED]
        dead_letters = await checks.dead_letters(log, expired)
    finally:
        await log.stop()
    await run.fleet.count_calls()
    table = [
        _events(run),
        _answered(seen),
        *_busy(run),
        checks.lost(seen, accepted),
        *checks.in_log(accepted, problems, _ends),
        *_told(accepted),
        _cancelled(accepted),
        _mailboxes(accepted),
        views.states(rows, {one.uid: str(one.told.status) for one in accepted}),
        views.texts(stored, {one.uid: _kept(one.told) for one in accepted}),
        *_calls(run, accepted),
        *commits,
        dead_letters,
        views.exits(run.fleet),
        *views.logs(run.fleet),
    ]
    return table, "\n".join(checks.story(run.fleet, one) for one in accepted)


def _kept(told: Told) -> str | None:
    """The text that can be fetched; an error keeps none."""
    return told.text if told.status in {Status.COMPLETED, Status.CANCELLED} else None


def _ends(seen: Watched) -> Collection[Status]:
    """The ends that a request may have."""
    ends = {Status.COMPLETED}
    if seen.ask.may_be_cancelled:
        ends.add(Status.CANCELLED)
    if seen.ask.deadline_s is not None:
        ends.add(Status.EXPIRED)
    return ends


# -- faults, and what clients saw


def _events(run: Run) -> Check:
    """A worker that dies without an LLM call in flight proves nothing."""
    names = Counter(str(e.name) for e in run.events)
    notes = [f"{e.at_s:6.1f} s  {e.in_flight:4} in flight  {e.name}: {e.note}" for e in run.events]
    value = f"{counted(names)}; {run.held} LLM calls were in the hands of those that it hit"
    return Check(name="what happened", value=value, problems=[] if run.held else ["it hit nothing"], notes=notes)


def _answered(seen: list[Watched]) -> Check:
    doors = Counter(str(one.ask.door) for one in seen)
    problems = [f"{one.uid or one.ask.name} ({one.ask.door}): {one.problem}" for one in seen if one.problem]
    value = f"{len(seen) - len(problems)} of {len(seen)} ({counted(doors)})"
    return Check(name="clients that got what they asked for", value=value, problems=problems)


def _busy(run: Run) -> list[Check]:
    """The clients' interruptions, and connections that were cut without a fault of the run.

    A client that has lost its patience proves nothing about the worker: the machine may be busy with starting others.
    """
    seen = run.clients.seen
    cut = [
        f"{one.uid} ({one.ask.door}): {each.reason} from {each.member.name if each.member else 'a broker'} at {each.at}"
        for one in seen
        for each in one.interruptions
        if each.cut and not each.excused and not _in_outage(run, each.at, each.at)
    ]
    readings = sum(len(one.readings) for one in seen)
    resumed, left = sum(one.resumed for one in seen), sum(one.left for one in seen)
    conflicts = sum(one.conflicts for one in seen)
    return [
        Check(name="clients asked again, for", value=counted(run.clients.interruptions)),
        Check(name="streams read", value=f"{readings}, resumed {resumed} times, {left} times after hanging up"),
        Check(name="other bodies under the same name refused", value=conflicts),
        Check(name="connections cut without a reason", value=len(cut), problems=cut),
    ]


# -- readers beside the log


def _told(accepted: list[Request]) -> list[Check]:
    """Each reader's text is the log's, and ends as it does in the log."""
    problems = []
    for one in accepted:
        if one.seen.uid != one.uid:
            continue  # its client asked anew, and reads another one
        for reading in one.seen.readings:
            problems += [f"{one.uid}: a reader {wrong}" for wrong in _wrong_reading(one, reading)]
        for whole in one.seen.wholes:
            problems += [f"{one.uid}: an answer {wrong}" for wrong in _wrong_whole(one, whole)]
    mine = [one.seen for one in accepted if one.seen.uid == one.uid]
    readings, wholes = sum(len(seen.readings) for seen in mine), sum(len(seen.wholes) for seen in mine)
    repeated = sum(one.told.repeated for one in accepted)
    said = sum(one.told.answer.next_seq for one in accepted)
    return [
        Check(name="readers have every token once", value=f"{readings} streams, {wholes} whole", problems=problems),
        Check(name="tokens", value=f"{said} said, {repeated} said twice, which no reader saw"),
    ]


def _wrong_reading(one: Request, reading: Reading) -> Iterator[str]:
    if not reading.done:
        if not one.seen.ask.leaves_for_good:
            yield "has no end"
        elif not one.told.text.startswith(reading.text):
            yield f"has {reading.text!r}, the log {one.told.text!r}"
        return
    code = (reading.error or {}).get("code")
    if reading.text != one.told.text and not (code == EXPIRED and not reading.events):
        yield f"has {reading.text!r}, the log {one.told.text!r}"
    match one.told.status:
        case Status.COMPLETED if reading.finish != ["stop"] or code:
            yield f"of a completed answer has {reading.finish}, {code}"
        case Status.CANCELLED if reading.finish[-1:] != ["cancelled"] or code:
            yield f"of a cancelled answer has {reading.finish}, {code}"
        case Status.EXPIRED if code != EXPIRED:
            yield f"of an expired answer has {reading.finish}, {code}"


def _wrong_whole(one: Request, whole: Whole) -> Iterator[str]:
    wanted = {
        Status.COMPLETED: Whole(text=one.told.text, finish="stop"),
        Status.CANCELLED: Whole(text=one.told.text, finish="cancelled"),
        Status.EXPIRED: Whole(error=EXPIRED),
    }
    status = one.told.status
    if status is None or whole != wanted.get(status):
        yield f"is {whole}, the log says {status} and {one.told.text!r}"


def _cancelled(accepted: list[Request]) -> Check:
    """A client that cancelled got the end. No request was cancelled whose reader came back in time."""
    problems, told = [], Counter[str]()
    for one in accepted:
        seen, status = one.seen, one.told.status
        if seen.uid != one.uid:
            continue
        if seen.cancelled is not None:
            told[seen.cancelled] += 1
            if seen.cancelled != status:
                problems.append(f"{one.uid}: told {seen.cancelled}, the log says {status}")
        elif status is Status.CANCELLED and not seen.ask.leaves_for_good and seen.absent_s < GRACE_S:
            problems.append(f"{one.uid}: cancelled, though its reader was away for {seen.absent_s:.1f} s only")
    return Check(name="cancelled, and told", value=counted(told), problems=problems)


def _mailboxes(accepted: list[Request]) -> Check:
    """Each response queue has the whole answer: once, or once for each time that its client has sent the request."""
    problems, letters, again = [], 0, 0
    for one in accepted:
        box = one.seen.mailbox
        if box is None:
            continue
        answers = list(box.answers())
        letters += len(box.letters)
        again += max(0, len(answers) - 1)
        if not 1 <= len(answers) <= one.seen.sent:
            problems.append(f"{one.uid}: {len(answers)} answers in its queue to {one.seen.sent} requests")
        for answer in answers:
            problems += [f"{one.uid}: {wrong}" for wrong in _wrong_letters(one.told, answer)]
    value = f"complete, with {letters} messages; {again} answers twice, to clients that had sent the request twice"
    return Check(name="response queues", value=value, problems=problems)


def _wrong_letters(told: Told, answer: list[Letter]) -> Iterator[str]:
    numbers, last, status = [letter.seq for letter in answer], answer[-1], told.status
    text = b"".join(letter.body for letter in answer).decode()
    if numbers != list(range(len(answer))) or not last.done:
        yield f"messages {numbers} in its queue, the last one done: {last.done}"
    if last.status != ("failed" if status is None else status) or (status is Status.EXPIRED) != (last.code == EXPIRED):
        yield f"the last message says {last.status}, {last.code}, the log {status}"
    # An answer that is not streamed and did not complete has no text.
    if text != told.text and not (len(answer) == 1 and status is Status.EXPIRED):
        yield f"its queue says {text!r}, the log {told.text!r}"


# -- how often the LLM was called


def _in_outage(run: Run, began: float, ended: float) -> bool:
    """Whether Kafka was away then: records may be in doubt."""
    return any(outage.meets(began, ended, margin_s=AFTERMATH_S) for outage in run.outages)


def _causes(run: Run, prompt: str) -> list[str | None]:
    """The cause of each call for a prompt: the fault that kept an earlier call from ending, or None."""
    called = [(at, member) for member in run.fleet.members for at in member.began.get(prompt, ())]
    open_, causes = list[tuple[float, Member]](), list[str | None]()
    for at, member in sorted(called, key=lambda call: call[0]):
        given_up = [(one, cause) for one in open_ if (cause := _given_up(run, one, at))]
        if given_up:
            open_.remove(given_up[0][0])
        causes.append(given_up[0][1] if given_up else None)
        open_.append((at, member))
    return causes


def _given_up(run: Run, call: tuple[float, Member], before: float) -> str | None:
    """The fault by which a call was given up before some time; None if there was none."""
    began, member = call
    cause = member.gave_up(began, before, lease_s=LEASE_S)
    if cause is not None:
        return f"of what a {cause} worker held"
    return "of what Kafka's absence hit" if _in_outage(run, began, before) else None


def _calls(run: Run, accepted: list[Request]) -> list[Check]:
    """One call for each request, and one more for each worker that died, stopped or hung during its call."""
    calls: Counter[str] = Counter()
    for member in run.fleet.members:
        calls += member.calls
    repeated: Counter[str] = Counter()
    problems = []
    of_clients = by_client(accepted)
    for prompt, mine in of_clients.items():
        causes = _causes(run, prompt)
        repeated.update(cause for cause in causes if cause)
        without = max(0, causes.count(None) - len(mine))
        repeated["of any other"] += without
        attempts = sum(one.told.answer.attempts for one in mine)
        if without or calls[prompt] > attempts:
            problems.append(f"{mine[0].uid}: {callers(run.fleet, prompt)}, {attempts} attempts in the log")
    problems += [f"called for {prompt!r}, which no client asked" for prompt in calls.keys() - of_clients.keys()]
    marks = Counter[str]()
    for one in accepted:
        marks.update(
            {str(kind): one.told.frames[kind] for kind in (FrameKind.TAKEOVER, FrameKind.HANDOFF, FrameKind.RESTART)}
        )
    problems += [f"{one.uid}: said again from its start" for one in accepted if one.told.frames[FrameKind.RESTART]]
    return [
        Check(name="LLM calls", value=f"{calls.total()} for {len(accepted)} requests"),
        Check(name="takeovers", value=counted(marks)),
        Check(name="repeated LLM calls", value=repeated.total(), problems=problems),
        *(Check(name=f"  {cause}", value=count) for cause, count in repeated.most_common()),
    ]
