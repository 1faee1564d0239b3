"""Chooses the dead letters of a run, and finds out which of them can be sent again."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from weir.chat.requests import ChatRequest
from weir.envelope import Json, MalformedRecordError, seconds_of
from weir.events.ingress import Ingress
from weir.log.log import LogClient, Partition, Record
from weir.ranges.checks import check_limit, check_text, check_where
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange, each
from weir.replay.dead_letters.letters import SOURCES, Letter, completed, parse

PAGE: Final = 100  # letters of one read: each may hold megabytes
REASON_MAX: Final = 1000  # characters
FIELDS: Final = ("uid", "tenant", "model", "username", "ingress", "code")
"""Fields for ``--where``: of the request in a letter, and the code of the error with which it ended."""

NONE: Final = "what stands there is no dead letter"
REPLAY: Final = "its request was a replay"
ELSEWHERE: Final = "it came from RabbitMQ, or from no topic whose records can be sent again"
CUT: Final = "the letter does not hold its record whole, and the log does not have it, or cannot read it"
"""Reasons why a letter is not sent again."""

NOTHING: Final = "no dead letter in this range matches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The conditions that letters must meet, except the time."""

    reason: str | None = None  # a part of its reason, in upper or lower case
    topic: str | None = None  # the topic of its record
    where: Mapping[str, str] = field(default_factory=dict)  # field → the value that it must have
    limit: int | None = None  # the most letters; the oldest are taken

    def __post_init__(self) -> None:
        """Check the conditions.

        Raises:
            UsageError: a condition is wrong; the message names the option of the first one.
        """
        check_where(self.where, FIELDS)
        if self.reason is not None:
            check_text("--reason", self.reason, REASON_MAX)
        if self.topic is not None and self.topic not in SOURCES:
            raise UsageError(f"--topic: no dead letter of {self.topic[:80]!r} can be sent again; {', '.join(SOURCES)}")
        if self.limit is not None:
            check_limit(self.limit)

    def as_json(self) -> Json:
        """The conditions as JSON, for the record of a run."""
        return {"reason": self.reason, "topic": self.topic, "where": dict(self.where), "limit": self.limit}

    def has(self, letter: Letter) -> bool:
        """Whether a letter meets the conditions."""
        if self.reason is not None and self.reason.lower() not in letter.reason.lower():
            return False
        if self.topic is not None and self.topic != letter.topic:
            return False
        known = _fields(letter) if self.where else {}
        return all(known[name] == value for name, value in self.where.items())


def wanted_from(fields: Json) -> Wanted:
    """The conditions that ``Wanted.as_json`` was called on."""
    where = dict(fields["where"])  # runs of older versions have pairs
    return Wanted(reason=fields["reason"], topic=fields["topic"], where=where, limit=fields["limit"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A letter that is to be sent again, without its record: all chosen letters are held in memory."""

    id: str
    at: Partition
    offset: int  # of the letter
    written_at: float  # seconds since the epoch
    topic: str  # the topic of its record
    reason: str  # of the letter, fit for reports
    uid: str | None = None  # of the request in the letter
    ordered: str | None = None  # the submission whose answer was ordered by RabbitMQ
    accepted_at: float = 0.0  # when that submission was accepted: seconds since the epoch


@dataclass(slots=True)
class Choice:
    """The result of choosing."""

    chosen: list[Chosen] = field(default_factory=list)  # oldest first
    skipped: Counter[str] = field(default_factory=Counter)  # letters that cannot be sent, by the reason
    repeated: int = 0  # letters with a later letter about the same record


class _Read(NamedTuple):
    record: Record
    letter: Letter
    whole: Letter | None  # with its record to the byte; None if the record cannot go back to its topic

    @property
    def best(self) -> Letter:
        return self.whole or self.letter


async def choose(log: LogClient, spans: Sequence[OffsetRange], wanted: Wanted) -> Choice:
    """Choose letters; the result is the same whenever a run is resumed.

    Of several letters about one record the last one has its present state: there are several after a crash, and of a
    record that was sent again and failed again.

    Raises:
        NothingError: no letter meets the conditions.
        LogError: the log cannot be read.
    """
    choice, last, earlier, strange = Choice(), dict[object, Chosen | str | None](), set[str](), 0
    async for read in _letters(log, spans):
        if read is None:
            strange += 1
            continue
        name = _name(read.best)
        choice.repeated += last.pop(name, None) is not None
        last[name] = _chosen(read) if wanted.has(read.best) else None
        earlier.update(read.letter.earlier)
    for found in last.values():
        if isinstance(found, str):
            choice.skipped[found] += 1
        elif found is not None and found.id not in earlier:
            choice.chosen.append(found)
        elif found is not None:
            choice.repeated += 1
    if not choice.chosen and not choice.skipped:
        raise NothingError(NOTHING)
    choice.skipped += Counter({NONE: strange})
    choice.chosen.sort(key=lambda one: (one.written_at, one.id))
    choice.chosen = choice.chosen[: wanted.limit]
    return choice


async def look_for_one(log: LogClient, spans: Sequence[OffsetRange], wanted: Wanted) -> None:
    """Check that it is worth while to choose: one letter is wanted, unless a later one of its record is not.

    Raises:
        NothingError: no letter meets the conditions.
        LogError: the log cannot be read.
    """
    async with aclosing(_letters(log, spans)) as letters:
        async for read in letters:
            if read is not None and wanted.has(read.best):
                return
    raise NothingError(NOTHING)


async def _letters(log: LogClient, spans: Sequence[OffsetRange]) -> AsyncGenerator[_Read | None]:
    """The letters in some spans; None for a record that is not a letter."""
    for span in spans:
        async for record in each(log, span, page=PAGE):
            try:
                letter = parse(record)
            except MalformedRecordError:
                yield None
            else:
                yield _Read(record, letter, await completed(log, letter) if _is_ours(letter) else None)


def _is_ours(letter: Letter) -> bool:
    """Whether the letter's record was in a topic to which it can go back."""
    return letter.offset >= 0 and letter.topic in SOURCES


def _name(letter: Letter) -> object:
    """The identity of the record in a letter."""
    if letter.request is not None:
        return letter.request.uid
    return letter.id if letter.offset < 0 else (letter.topic, letter.partition, letter.offset)


def _chosen(read: _Read) -> Chosen | str:
    """The letter as a chosen one, or the reason why it cannot be sent."""
    record, letter, whole = read
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
        reason=letter.safe_reason,
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
        known |= {"uid": request.uid, "ingress": request.ingress, "username": request.username}
        known["model"] = model if isinstance(model, str) else None
    return known
