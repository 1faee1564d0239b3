"""The requests of a range: each uid once, as it was submitted first, and where it is asked for, each of its lives."""

from collections.abc import AsyncIterator

from weir import envelope
from weir.chat.kafka_door import is_moved, request_in
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.errors import InvalidRequestError
from weir.export.tally import Skip, Tally
from weir.export.where import Where
from weir.log.log import LogClient, Record
from weir.ranges.progress import Step
from weir.ranges.spans import Span, each
from weir.settings import Settings


async def matching(log: LogClient, span: Span, where: Where, tally: Tally, step: Step) -> AsyncIterator[Record]:
    """The records of a span that are asked for.

    Raises:
        LogError: the log cannot be read.
    """
    async for record in each(log, span, step=step):
        if where.matches(record):
            yield record
        else:
            tally.skip(Skip.FILTERED)


class Submissions:
    """Reads requests.

    Args:
        log: where they are.
        where: which are meant.
        tally: counts what is left out.
        step: is told how many offsets are done.
        settings: by which Kafka's door checks what clients write to the topic.
        redriven: whether one that was sent again from the dead letters comes, too: it may have an answer of its own.
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

    async def of(self, span: Span) -> AsyncIterator[tuple[Record, ChatRequest]]:
        """The requests of a span, in the order of the log, without those that a replay made.

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
            return Skip.REFUSED  # the next one of its uid may be answered
        if is_moved(self._log, record, request):
            return Skip.MOVED  # a copy of it is not, and that one has an answer
        # Before any condition: the first one is answered, whoever sent it.
        if self._is_known(request):
            return Skip.AGAIN
        if not self._where.matches(record):
            return Skip.FILTERED
        return Skip.REPLAY if _is_replay(record.value or b"") else request

    def _is_known(self, request: ChatRequest) -> bool:
        """Whether it came before; it is held from now on."""
        first, life = hash(request.uid), hash((request.uid, request.event_id))
        known = life in self._seen or (first in self._seen and not (self._redriven and request.redriven))
        self._seen |= {first, life}
        return known


def _is_replay(value: bytes) -> bool:
    return b'"replay"' in value and bool(envelope.decode(value).data.get("replay"))
