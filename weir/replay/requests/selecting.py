"""Selects the requests of a run: the same ones whenever it is resumed, for its spans are offsets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from weir import topics
from weir.chat.kafka_door import is_moved, request_in
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.errors import InvalidRequestError
from weir.llm.prices import Prices
from weir.log.log import LogClient, Partition, Record, partition_of
from weir.ranges.checks import LIMIT_MAX
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange, each, records, size
from weir.ranges.progress import Step, Steps
from weir.replay.requests.answered import REPEATED, Answered, EndedReplay
from weir.replay.requests.plans import OF_OUTCOME, OF_REQUEST, ReplayPlan, plan_from
from weir.replay.runs import Run
from weir.settings import Settings
from weir.timing import in_turns

SEEN_MAX: Final = 2 * LIMIT_MAX  # requests to choose from: a kilobyte each, and their answers


class RequestPlace(NamedTuple):
    """The place of a request in the log; places sort in the order in which requests came."""

    timestamp: float
    at: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Original:
    """A request as it was, without its messages: these are read again when it is sent again."""

    place: RequestPlace
    request: ChatRequest  # its body holds only the model
    ended: EndedReplay | None = None


@dataclass(slots=True)
class Selection:
    """The requests that a run replays."""

    originals: list[Original]
    passed_over: dict[str, int]  # reason → records


async def select(log: LogClient, run: Run, prices: Prices, steps: Steps, settings: Settings) -> Selection:
    """Select the requests of a run, oldest first, each with its result.

    Args:
        log: the log to read.
        run: the run, with its plan.
        prices: the prices of tokens.
        steps: called with the progress.
        settings: the settings by which the Kafka door checks requests that clients write to the topic.

    Raises:
        NothingError: there are no such requests.
        UsageError: there are too many requests to choose from.
        LogError: the log cannot be read.
    """
    plan = plan_from(run.parameters)
    with steps("requests", size(run.spans)) as step:
        selection = await _requests(log, run.spans, plan, step, settings)
    if not plan.of_outcome:
        del selection.originals[plan.limit :]
    await _ends(log, run, selection, prices, steps)
    _drop_repeated(selection)
    if plan.of_outcome:
        wanted = {name: value for name, value in plan.where.items() if name in OF_OUTCOME}
        selection.originals = [one for one in selection.originals if _ended_so(one, wanted)][: plan.limit]
    if not selection.originals:
        raise NothingError("no request in this range is what --where asks for")
    return selection


async def _requests(
    log: LogClient, spans: Sequence[OffsetRange], plan: ReplayPlan, step: Step, settings: Settings
) -> Selection:
    wanted = {name: value for name, value in plan.where.items() if name in OF_REQUEST}
    found: dict[str, Original] = {}
    reasons = ("malformed", "refused", "moved", "replays", "sent twice", "others", "gone from the log")
    passed_over = dict.fromkeys(reasons, 0)
    for span in spans:
        # If a run is resumed much later, retention may have removed requests that it has replayed long ago.
        position = max(span.start, min(span.end, (await log.bounds(span.at)).start))
        passed_over["gone from the log"] += position - span.start
        step.advance(position - span.start)
        async for record in each(log, span._replace(start=position), step=step):
            why = _take(log, record, wanted, found, settings)
            if why is not None:
                passed_over[why] += 1
            if len(found) > SEEN_MAX:
                raise UsageError(f"--from: more than {SEEN_MAX} requests are to choose from: ask for a smaller range")
    return Selection(sorted(found.values(), key=lambda one: one.place), {k: v for k, v in passed_over.items() if v})


def _take(
    log: LogClient, record: Record, wanted: dict[str, str], found: dict[str, Original], settings: Settings
) -> str | None:
    """Take a record of chat-requests; returns the reason if it is skipped."""
    request = _answerable(log, record, settings)
    if isinstance(request, str):
        return request
    if request.replay is not None:
        return "replays"
    if not all(_text(_field(request, name)) == value for name, value in wanted.items()):
        return "others"
    if request.uid in found:
        return "sent twice"
    place = RequestPlace(record.timestamp, Partition(record.topic, record.partition), record.offset)
    found[request.uid] = Original(place, replace(request, body=_light(request.body)))
    return None


def _answerable(log: LogClient, record: Record, settings: Settings) -> ChatRequest | str:
    """The request, if it is answered in the partition of its record; else the reason why it is not."""
    try:
        request = request_in(record, settings)
    except MalformedRecordError:
        return "malformed"
    except InvalidRequestError:
        return "refused"  # a dead letter; the next submission of its uid may be answered
    return "moved" if is_moved(log, record, request) else request  # its copy is not moved


def _light(body: dict[str, Any]) -> dict[str, Any]:
    return {"model": body.get("model")}


def _field(request: ChatRequest, name: str) -> Any:
    return request.body.get("model") if name == "model" else getattr(request, name)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ended_so(original: Original, wanted: dict[str, str]) -> bool:
    outcome = original.ended and original.ended.outcome
    return all(_text(getattr(outcome, name, None)) == value for name, value in wanted.items())


def _drop_repeated(selection: Selection) -> None:
    """Drop requests that got the answer of an earlier submission of their uid, from before the range."""
    own = [one for one in selection.originals if one.ended is not None and one.ended.outcome.status != REPEATED]
    if len(own) < len(selection.originals):
        twice = selection.passed_over.get("sent twice", 0) + len(selection.originals) - len(own)
        selection.passed_over["sent twice"] = twice
        selection.originals = own


async def _ends(log: LogClient, run: Run, selection: Selection, prices: Prices, steps: Steps) -> None:
    """The result of each request, in one pass over their part of chat-chunks."""
    ends: dict[str, EndedReplay] = {}
    asked: dict[Partition, list[ChatRequest]] = {}
    for original in selection.originals:
        at = partition_of(log, topics.CHAT_CHUNKS.name, original.request.key)
        asked.setdefault(at, []).append(original.request)
    spans = [
        OffsetRange(at, min(request.chunks_from for request in some), run.end_of(at)) for at, some in asked.items()
    ]
    with steps("their answers", size(spans)) as step:
        for span in spans:
            answered = Answered(prices, lambda request, ended: ends.update({request.uid: ended}))
            for request in asked[span.at]:
                answered.watch(request)
            await _read_ends(log, span, answered, step)
            ends.update({request.uid: ended for request, ended in answered.left()})
    selection.originals = [replace(one, ended=ends[one.request.uid]) for one in selection.originals]


async def _read_ends(log: LogClient, span: OffsetRange, answered: Answered, step: Step) -> None:
    position = span.start
    async for page in records(log, span):
        async for record in in_turns(page):
            answered.take((record,))
        step.advance(page[-1].offset + 1 - position)
        position = page[-1].offset + 1
        if not answered.open:
            break
    step.advance(span.end - position)  # records of other requests
