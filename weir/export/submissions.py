"""Reads the requests of a range: each uid once, by its first submission, or on demand each of its submissions."""

from collections.abc import AsyncIterator

from weir import envelope
from weir.chat.kafka_door import is_moved, request_in
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.errors import InvalidRequestError
from weir.export.tally import Skip, Tally
from weir.export.where import Where
from weir.log.log import LogClient, Record
from weir.ranges.offset_ranges import OffsetRange, each
from weir.ranges.progress import Step
from weir.settings import Settings


async def matching(log: LogClient, span: OffsetRange, where: Where, tally: Tally, step: Step) -> AsyncIterator[Record]:
    """The records of a span that match the conditions.

    Raises:
        LogError: the log cannot be read.
    """
    async for record in each(log, span, step=step):
        if where.matches(record):
            yield record
        else:
            tally.skip(Skip.FILTERED)


class Submissions:
    """Reads the requests of a span.

    Args:
        log: the log with the requests.
        where: the conditions that they must match.
        tally: counts the requests that are left out.
        step: receives the number of offsets that are done.
        settings: the settings by which the Kafka door checks requests that clients write to the topic.
        redriven: whether requests sent again from the dead letters count, too: each may have an answer of its own.
    """

    def __init__(
        self,
        log: LogClient,
        where: Where,
        tally: Tally,
        step: Step,
        *,
        settings: Settings,
        redriven: bool = False,
    ) -> None:
        self._log, self._where, self._tally, self._step = log, where, tally, step
        self._settings, self._redriven = settings, redriven
        self._seen: set[int] = set()  # hashes of uids and of (uid, event id), about 130 bytes for each request

    async def of(self, span: OffsetRange) -> AsyncIterator[tuple[Record, ChatRequest]]:
        """The requests of a span, in the order of the log, without those of replays.

        Raises:
            LogError: the log cannot be read.
        """
        async for record in matching(self._log, span, Where(), self._tally, self._step):
            request = self._request(record)
            if isinstance(request, ChatRequest):
                yield record, request
            else:
                self._tally.skip(request)

    def _request(self, record: Record) -> ChatRequest | Skip:
        try:
            request = request_in(record, self._settings)
        except MalformedRecordError:
            return Skip.MALFORMED
        except InvalidRequestError:
            return Skip.REFUSED  # the next submission of its uid may be answered
        if is_moved(self._log, record, request):
            return Skip.MOVED  # its record in the right partition has the answer instead
        # Before any condition: the first submission of a uid is answered, whichever client sent it.
        if self._is_known(request):
            return Skip.AGAIN
        if not self._where.matches(record):
            return Skip.FILTERED
        return Skip.REPLAY if _is_replay(record.value or b"") else request

    def _is_known(self, request: ChatRequest) -> bool:
        """Whether the request was read before; from now on it counts as read."""
        first, life = hash(request.uid), hash((request.uid, request.event_id))
        known = life in self._seen or (first in self._seen and not (self._redriven and request.redriven))
        self._seen |= {first, life}
        return known


def _is_replay(value: bytes) -> bool:
    return b'"replay"' in value and bool(envelope.decode(value).data.get("replay"))
