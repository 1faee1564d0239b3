"""Collects feedback on answers since a time, by tenant and uid, and decides which answers become examples.

Only figures of each piece are held, and the place of a correction: texts are read when they are needed.
"""

from dataclasses import dataclass
from typing import NamedTuple

from weir import envelope
from weir.envelope import Event, MalformedRecordError
from weir.errors import InvalidRequestError
from weir.events.catalogue import data_of
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.export.tally import Skip
from weir.feedback import rules
from weir.feedback.scores import ScoreFacts, score_of, source_of
from weir.log.log import LogClient, Partition, Record, record_at
from weir.ranges.offset_ranges import OffsetRange, each, since
from weir.ranges.progress import Step
from weir.settings import Settings
from weir.topics import AI_FEEDBACK


class Correction(NamedTuple):
    """The place of the latest correction."""

    timestamp: float
    at: Partition
    offset: int


@dataclass(slots=True)
class Opinion:
    """The feedback on one answer."""

    score_sum: float = 0.0  # sum of the scores of explicit feedback
    count: int = 0
    correction: Correction | None = None

    @property
    def mean(self) -> float | None:
        """The mean score, from -1 to 1; None without explicit feedback."""
        return self.score_sum / self.count if self.count else None


class Opinions:
    """The feedback that a worker would count, each piece once."""

    def __init__(self, log: LogClient, settings: Settings) -> None:
        self._log, self._settings = log, settings
        self._of: dict[tuple[str, str], Opinion] = {}
        self._seen: set[int] = set()  # hashes of (tenant, event id), for a piece may be in the log twice

    async def spans(self, since_s: float) -> list[OffsetRange]:
        """The spans of the topic with feedback that was given since a time.

        Raises:
            LogError: the log cannot be read.
        """
        count = self._log.partitions(AI_FEEDBACK.name)
        return [await since(self._log, Partition(AI_FEEDBACK.name, number), since_s) for number in range(count)]

    async def read(self, spans: list[OffsetRange], step: Step) -> None:
        """Read the feedback in some spans.

        Raises:
            LogError: the log cannot be read.
        """
        for span in spans:
            async for record in each(self._log, span, step=step):
                self._take(record)

    def _take(self, record: Record) -> None:
        event = _submitted(record.value)
        data = None if event is None else _checked(event, self._settings)
        if event is None or data is None:
            return
        known = hash((event.tenant_id, event.event_id))
        if known in self._seen:
            return
        self._seen.add(known)
        opinion = self._of.setdefault((event.tenant_id, data.uid), Opinion())
        if data.feedback_type is FeedbackType.CORRECTION:
            found = Correction(record.timestamp, Partition(record.topic, record.partition), record.offset)
            opinion.correction = max(opinion.correction or found, found)
        source = source_of(data.feedback_type, data.feedback_source)
        if source is FeedbackSource.EXPLICIT:
            opinion.count += 1
            opinion.score_sum += score_of(ScoreFacts(data.feedback_type, source, data.rating, data.edit_distance))

    def of(self, tenant: str, uid: str) -> Opinion:
        """The feedback of a tenant on the answer to its request."""
        return self._of.get((tenant, uid)) or Opinion()

    async def corrected(self, correction: Correction) -> str | None:
        """The text of a correction; None if the log does not keep it any more.

        Raises:
            LogError: the log cannot be read.
        """
        record = await record_at(self._log, correction.at, correction.offset)
        event = None if record is None else _submitted(record.value)
        return None if event is None else data_of(event, FeedbackSubmitted).corrected


def verdict(opinion: Opinion, *, min_score: float, unrated: bool) -> Skip | None:
    """Why an answer is no example, as far as its feedback decides that; None if it may be one.

    Args:
        opinion: the feedback on the answer.
        min_score: the least mean score.
        unrated: whether an answer without explicit feedback may be one.
    """
    if opinion.correction is not None:
        return None
    if opinion.mean is None:
        return None if unrated else Skip.UNRATED
    return None if opinion.mean >= min_score else Skip.LOW


def _submitted(value: bytes | None) -> Event | None:
    event = envelope.event_in(value)
    return event if event is not None and event.event_type == FeedbackSubmitted.EVENT_TYPE else None


def _checked(event: Event, settings: Settings) -> FeedbackSubmitted | None:
    """Feedback, by the rules of the feedback agent; None for what is a dead letter there."""
    try:
        data = data_of(event, FeedbackSubmitted)
        rules.check(data, settings)
    except (MalformedRecordError, InvalidRequestError):
        return None
    return data
