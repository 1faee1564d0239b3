"""Follows the records of one run in the log: its requests, their answers, and whether it was cancelled."""

from collections.abc import Callable, Container, Sequence

from weir import envelope, topics
from weir.chat import requests
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.events.replays import ReplayEnded
from weir.log.log import Deliver, LogClient, Partition, Record, partition_of
from weir.ranges.offset_ranges import each, onward, since
from weir.replay.runs import Run, started_s


class Following:
    """Follows the topics of one run, from where the run began.

    Args:
        log: the log to read.
        run: the run.
        uids: the uids of its requests.
        on_request: called with the uid and the request of each record of the run, whichever process has sent it.
        on_answers: called with the records of chat-chunks.
        on_cancelled: called when the run was cancelled.
    """

    def __init__(
        self,
        log: LogClient,
        run: Run,
        uids: Container[str],
        *,
        on_request: Callable[[str, ChatRequest], None],
        on_answers: Deliver,
        on_cancelled: Callable[[], None],
    ) -> None:
        self._log, self._run, self._uids = log, run, uids
        self._on_request, self._on_answers, self._on_cancelled = on_request, on_answers, on_cancelled
        self._followed: list[Partition] = []

    async def start(self) -> None:
        """Read the records that are there; when it returns, all were taken, and later ones are followed.

        Raises:
            LogError: a topic cannot be read.
        """
        runs = partition_of(self._log, topics.CHAT_REPLAYS.name, self._run.id.encode())
        # From where it began: it may have been cancelled while its requests were selected.
        began = (await since(self._log, runs, started_s(self._run.id))).start
        await self._follow(runs, began, self._hear_of_run)
        hearers: list[tuple[str, Deliver]] = [
            (topics.CHAT_REQUESTS.name, self._hear_requests),
            (topics.CHAT_CHUNKS.name, self._on_answers),
        ]
        for topic, hear in hearers:
            for number in range(self._log.partitions(topic)):
                at = Partition(topic, number)
                span = await onward(self._log, at, self._run.end_of(at))
                async for record in each(self._log, span):
                    hear((record,))
                await self._follow(at, span.end, hear)

    async def stop(self) -> None:
        """Stop following."""
        for at in self._followed:
            await self._log.unfollow(at)

    async def _follow(self, at: Partition, position: int, hear: Deliver) -> None:
        await self._log.follow(at, position, hear)
        self._followed.append(at)

    def _hear_requests(self, found: Sequence[Record]) -> None:
        """Requests of this run, whichever process has sent them."""
        for record in found:
            uid = (record.key or b"").decode(errors="replace")
            if uid not in self._uids:
                continue
            try:
                request = requests.decode(record.value)
            except MalformedRecordError:
                continue
            if request.replay == self._run.id:
                self._on_request(uid, request)

    def _hear_of_run(self, found: Sequence[Record]) -> None:
        for record in found:
            event = envelope.event_in(record.value) if record.key == self._run.id.encode() else None
            ended = event is not None and event.event_type == ReplayEnded.EVENT_TYPE
            if event is not None and ended and event.data.get("status") == "cancelled":
                self._on_cancelled()
