"""A worker's record, its place in the group, and Faust's events, for tests of one part."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from weir.chat.ends import Ends, ends
from weir.chat.states import RequestRows, request_rows
from weir.events.publishing import Events
from weir.feedback.prompt_rows import PromptRows, prompt_rows
from weir.feedback.rows import FeedbackRows, feedback_rows
from weir.llm.prices import Prices
from weir.log.log import Headers, LogClient
from weir.log.tails import Tails
from weir.settings import Settings
from weir.table_rows import row_max_bytes
from weir.telemetry.worker_metrics import Metrics
from weir.worker import Worker

MAX_BYTES = row_max_bytes(Settings())


@dataclass(slots=True)
class FakeMembership:
    """A group that a test moves by hand; the worker has the same partitions of all topics."""

    own: set[int] = field(default_factory=set)
    rebalancing: bool = False
    settled: bool = True
    generation: int = 1
    draining: bool = False

    def own_partitions(self, topic: str) -> set[int]:
        del topic
        return self.own


def worker_of(
    log: LogClient,
    *,
    membership: FakeMembership | None = None,
    settings: Settings | None = None,
    tails: Tails | None = None,
    prices: Prices | None = None,
) -> Worker:
    return Worker(
        name="w:1",
        settings=settings or Settings(),
        log=log,
        tails=tails or Tails(log),
        events=Events(log),
        metrics=Metrics(),
        prices=prices or Prices({}),
        membership=membership or FakeMembership(),
    )


def ends_in_memory() -> Ends:
    return ends({}, MAX_BYTES)


def requests_in_memory() -> RequestRows:
    return request_rows({}, MAX_BYTES)


def feedback_in_memory() -> FeedbackRows:
    return feedback_rows({}, MAX_BYTES)


def prompts_in_memory() -> PromptRows:
    return prompt_rows({}, MAX_BYTES)


@dataclass(slots=True, kw_only=True)
class FakeMessage:
    """A record as Faust's consumer hands it over."""

    value: bytes | None
    topic: str = "chat-requests"
    partition: int = 0
    offset: int = 5
    key: bytes | None = b"k"
    timestamp: float = field(default_factory=time.time)
    headers: Mapping[str, bytes] | Headers = ()
    generation_id: int = 1


@dataclass(slots=True)
class FakeEvent:
    """An event as Faust delivers it; counts how often it is acknowledged."""

    message: FakeMessage
    acks: int = 0

    def ack(self) -> None:
        self.acks += 1
