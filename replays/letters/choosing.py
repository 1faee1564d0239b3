"""Which dead letters are meant, and what of them can be sent again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from answers.envelope import Json, MalformedRecordError, seconds_of
from app.requests import ChatRequest, Ingress
from replays.errors import NothingError, UsageError
from replays.letters.letters import SOURCES, Letter, completed, parse
from replays.spans import Span, records
from transports.log import LogClient, Partition, Record

PAGE: Final = 100  # letters of one read: each may hold megabytes
FIELDS: Final = ("uid", "tenant", "model", "username", "ingress", "code")
"""What ``--where`` knows: of the request that a letter is about, and the code of the error that it ended with."""

NONE: Final = "what stands there is no dead letter"
REPLAY: Final = "its request was a replay"
ELSEWHERE: Final = "it came from RabbitMQ, or from no topic whose records can be sent again"
CUT: Final = "it was too large to be kept whole, and the log does not have it any more"
"""Why a letter is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for, beside the time."""

    reason: str | None = None  # a part of it, in upper or lower case
    topic: str | None = None  # where its record came from
    where: Sequence[tuple[str, str]] = ()
    limit: int | None = None  # the oldest ones

    def as_json(self) -> Json:
        """For the record of a run."""
        where = [list(pair) for pair in self.where]
        return {"reason": self.reason, "topic": self.topic, "where": where, "limit": self.limit}

    def has(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        if self.reason is not None and self.reason.lower() not in letter.reason.lower():
            return False
        if self.topic is not None and self.topic != letter.topic:
            return False
        known = _fields(letter)
        return all(known[name] == value for name, value in self.where)


def wanted_from(fields: Json) -> Wanted:
    """What ``Wanted.as_json`` gave."""
    where = [(name, value) for name, value in fields["where"]]
    return Wanted(reason=fields["reason"], topic=fields["topic"], where=where, limit=fields["limit"])


def condition(text: str) -> tuple[str, str]:
    """A field and its value.

    Raises:
        UsageError: it is no condition, or there is no such field.
    """
    name, equals, value = text.partition("=")
    if not equals or name not in FIELDS:
        raise UsageError(f"--where: {text[:80]!r} is not field=value with a field of {', '.join(FIELDS)}")
    return name, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A letter that is to be sent again, without its record: all of them are kept."""

    id: str
    at: Partition
    offset: int  # of the letter
    written_at: float  # seconds since the epoch
    topic: str  # where its record came from
    told: str  # its reason
    uid: str | None = None  # of the request that it is about
    ordered: str | None = None  # the submission whose answer was ordered by RabbitMQ
    accepted_at: float = 0.0  # when that was accepted: seconds since the epoch


@dataclass(slots=True)
class Choice:
    """Letters that are meant."""

    chosen: list[Chosen] = field(default_factory=list)  # oldest first
    skipped: Counter[str] = field(default_factory=Counter)  # why
    repeated: int = 0  # letters about the same as a later one


async def choose(log: LogClient, spans: Sequence[Span], wanted: Wanted) -> Choice:
    """Look through letters; the same for whoever looks again.

    Of several letters about the same the last one tells where that stands: there are more after a crash, and of what
    was sent again and failed again.

    Raises:
        NothingError: none is meant.
        LogError: the log cannot be read.
    """
    choice, last, earlier = Choice(), dict[object, Chosen | str | None](), set[str]()
    for span in spans:
        async for page in records(log, span, page=PAGE):
            for record in page:
                try:
                    letter = parse(record)
                except MalformedRecordError:
                    choice.skipped[NONE] += 1
                    continue
                whole = await completed(log, letter) if _is_ours(letter) else None
                name = _name(whole or letter)
                choice.repeated += last.pop(name, None) is not None
                last[name] = _chosen(record, letter, whole) if wanted.has(whole or letter) else None
                earlier.update(letter.earlier)
    for found in last.values():
        if isinstance(found, str):
            choice.skipped[found] += 1
        elif found is not None and found.id not in earlier:
            choice.chosen.append(found)
        elif found is not None:
            choice.repeated += 1
    if not choice.chosen and not choice.skipped:
        raise NothingError("no dead letter in this range is meant")
    choice.chosen.sort(key=lambda one: (one.written_at, one.id))
    choice.chosen = choice.chosen[: wanted.limit]
    return choice


def _is_ours(letter: Letter) -> bool:
    """Whether its record stood in a topic that it can go back to."""
    return letter.offset >= 0 and letter.topic in SOURCES


def _name(letter: Letter) -> object:
    """What a letter is about."""
    if letter.request is not None:
        return letter.request.uid
    return letter.id if letter.offset < 0 else (letter.topic, letter.partition, letter.offset)


def _chosen(record: Record, letter: Letter, whole: Letter | None) -> Chosen | str:
    """It, or why it cannot be sent."""
    if not _is_ours(letter):
        return ELSEWHERE
    if whole is None:
        return CUT
    if whole.is_replay:
        return REPLAY
    request = whole.request
    ordered = request is not None and request.ingress is Ingress.RABBITMQ
    return Chosen(
        id=letter.id,
        at=Partition(record.topic, record.partition),
        offset=record.offset,
        written_at=record.timestamp,
        topic=letter.topic,
        told=letter.told,
        uid=None if request is None else request.uid,
        ordered=request.event_id if ordered and request is not None else None,
        accepted_at=0.0 if request is None else _accepted_at(request),
    )


def _accepted_at(request: ChatRequest) -> float:
    return seconds_of(request.accepted_at) or 0.0


def _fields(letter: Letter) -> dict[str, str | None]:
    request = letter.request
    known: dict[str, str | None] = dict.fromkeys(FIELDS)
    known |= {"tenant": letter.tenant, "code": letter.code}
    if request is not None:
        model = request.body.get("model")
        known |= {"uid": request.uid, "tenant": request.tenant, "ingress": request.ingress}
        known |= {"username": request.username, "model": None if model is None else str(model)}
    return known
