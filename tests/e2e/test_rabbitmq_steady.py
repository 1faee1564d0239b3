"""10,000 requests over RabbitMQ leave no connection, no channel, no receipt, and no memory worth mention.

RabbitMQ itself is asked for its objects, while several hundred requests are in flight. The clients are the benchmark's,
which check every answer.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.load import Job
from bench.processes import FAUST, start
from bench.queue_load import PREFIX, QueueLoad
from bench.reading import Answer
from bench.targets import start_upstream, worker_settings
from bench.upstream import model_name
from tests.services.process import free_ports
from tests.services.rabbitmq import RabbitBroker

pytestmark = pytest.mark.rabbitmq

REQUESTS, CLIENTS, TOKENS = 10_000, 300, 2
LOOKS = (100, 2_500, 5_000, 7_500, REQUESTS)  # answers after which we look
WITHIN_S = 1200.0  # it takes a minute or so; the rest is for busy machines
STUCK_S = 60.0  # without any answer
EMPTY_WITHIN_S = 15.0
POLL_S = 0.05

# A request keeps by design: a row in each of two tables, its place in an index, its records in the rings of
# recent ones, which fill up; 5 KiB, measured. A task or a channel that stays costs more than the rest of this.
KEPT_MAX_BYTES = 10 * 1024


class Clients(QueueLoad):
    """The benchmark's clients, for a number of requests instead of a time."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._left = REQUESTS
        self.stopped = threading.Event()

    @property
    def answers(self) -> int:
        return len(self._answers)

    @property
    def errors(self) -> list[str]:
        return [*self._failed, *(answer.error for answer in self._answers if answer.error)]

    def ask_all(self) -> None:
        for client in range(self._job.clients):
            self._ask(client)
        while self._busy and not self.stopped.is_set():
            self._serve(POLL_S)

    def _ask(self, client: int) -> None:
        self._left -= 1
        super()._ask(client)

    def _answered(self, client: int, answer: Answer) -> None:
        self._answers.append(answer)
        if self._left:
            self._ask(client)
        else:
            self._end(client)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Measurements of the worker from outside."""

    connections: set[str]
    channels: set[str]  # "connection (number)"
    rss_bytes: int


@dataclass(kw_only=True)
class Story:
    """Measurements over all requests."""

    looks: list[Look] = field(default_factory=list)
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)  # messages left in them in the end


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All requests, once for all tests."""
    folder = tmp_path_factory.mktemp("steady")
    with ExitStack() as stack:
        rabbit = stack.enter_context(RabbitBroker())
        _, upstream_port = start_upstream(folder, stack)
        port = free_ports(1)[0]
        settings = worker_settings(folder, upstream_port, port, {"RABBITMQ_URL": rabbit.url})
        command = [str(FAUST), "-A", "app", "worker"]
        worker = start("worker", command, folder, settings, f"http://127.0.0.1:{port}/ping")
        stack.callback(worker.stop)
        yield tell(rabbit, worker.pid)


def tell(rabbit: RabbitBroker, pid: int) -> Story:
    job = Job(
        port=rabbit.port,
        queue="chat_incoming",
        clients=CLIENTS,
        model=model_name(TOKENS, 0),
        tokens=TOKENS,
        seconds=WITHIN_S,
        warmup_s=0,
        run="steady",
    )
    clients, story = Clients(job), Story()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(clients.ask_all)
        try:
            for count in LOOKS:
                until_answered(clients, count, asking)
                story.looks.append(look(rabbit, pid))
        finally:
            clients.stopped.set()
        asking.result()
    story.answers, story.errors = clients.answers, clients.errors
    story.queues = settled(rabbit)
    return story


def until_answered(clients: Clients, count: int, asking: Future[None]) -> None:
    """Wait for so many answers, for as long as there come any."""
    seen, deadline = clients.answers, time.monotonic() + STUCK_S
    while clients.answers < count and not asking.done():
        if clients.answers > seen:
            seen, deadline = clients.answers, time.monotonic() + STUCK_S
        assert time.monotonic() < deadline, f"{seen} answers, and none for {STUCK_S} s"
        time.sleep(POLL_S)


def look(rabbit: RabbitBroker, pid: int) -> Look:
    connections = rabbit.ask("connections", "name", "client_properties")
    own = {row["name"] for row in connections if "weir " in str(row["client_properties"])}
    channels = {row["name"] for row in rabbit.ask("channels", "name")}
    status = Path(f"/proc/{pid}/status").read_text()
    return Look(
        connections=own,
        channels={name for name in channels if name.rpartition(" (")[0] in own},
        rss_bytes=int(status.partition("VmRSS:")[2].split()[0]) * 1024,
    )


def settled(rabbit: RabbitBroker) -> dict[str, int]:
    """Messages left in the queues; the last receipt of a delivery goes a moment after its answer."""
    deadline = time.monotonic() + EMPTY_WITHIN_S
    while True:
        left = {row["name"]: row["messages"] for row in rabbit.ask("queues", "name", "messages")}
        if not any(left.values()) or time.monotonic() > deadline:
            return left


def test_every_request_is_answered(story: Story) -> None:
    assert (story.answers, story.errors) == (REQUESTS, [])


def test_connections_and_channels_are_the_same_after_100_requests_and_after_10_000(story: Story) -> None:
    first = story.looks[0]
    assert len(first.connections) == 2
    assert len(story.looks) == len(LOOKS)
    assert [of.connections for of in story.looks] == [first.connections] * len(LOOKS)
    assert [of.channels for of in story.looks] == [first.channels] * len(LOOKS)


def test_no_receipt_and_no_answer_is_left(story: Story) -> None:
    assert any(".receipts." in name for name in story.queues)
    assert not any(story.queues.values())


def test_no_queue_is_left_that_its_client_has_removed(story: Story) -> None:
    assert not [name for name in story.queues if name.startswith(PREFIX)]


def test_memory_does_not_grow_with_the_requests(story: Story) -> None:
    warm, last = story.looks[1], story.looks[-1]
    assert (last.rss_bytes - warm.rss_bytes) / (LOOKS[-1] - LOOKS[1]) < KEPT_MAX_BYTES
