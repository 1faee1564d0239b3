"""The load generator: clients that each send the next request when the last is answered, in a process of its own.

    echo '{"port": 8080, "clients": 64, ...}' | python -m bench.load

It prints ``begin`` when the clients have warmed up, measures for the time of the job, prints ``end``, lets the clients
finish their requests, and prints its figures as one line of JSON. Clients begin one after the other, so that they do
not march in step.

Like the upstream it is epoll and sockets: the cores that it does not use are left to the measured programs.
"""

import select
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import orjson

from bench.reading import Answer, MalformedResponseError, Response
from bench.stats import percentile

READ_BYTES = 262_144
FINISH_S = 30.0  # for requests in flight when the time is over
ERRORS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The target and the load of one cell."""

    port: int
    clients: int
    model: str
    tokens: int
    seconds: float
    warmup_s: float
    run: str  # distinguishes the prompts of different runs
    queue: str = ""  # the queue of requests, if they go by RabbitMQ


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one cell of one round. Times in milliseconds; requests are those sent within the time."""

    seconds: float
    requests: int
    errors: int
    requests_per_s: float
    tokens_per_s: float
    ttft_ms: float
    ttft_p95_ms: float
    gap_ms: float  # median time between two tokens
    token_ms: float  # (last - first) / (tokens - 1), median over the answers
    transit_ms: float  # from the upstream's write of a token to its arrival here, median over the tokens
    transit_p95_ms: float
    error_texts: list[str]
    messages: float = 0.0  # in an answer over RabbitMQ, on average


class Client:
    """One connection, which always has a request in flight."""

    def __init__(self, job: Job, number: int) -> None:
        self._job = job
        self._number = number
        self._asked = 0
        self.sock = socket.create_connection(("127.0.0.1", job.port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.response: Response | None = None

    def ask(self) -> None:
        """Send the next request, with a prompt that was never sent before."""
        self._asked += 1
        body = orjson.dumps(question(self._job, self._number, self._asked))
        request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.response = Response(self._job.tokens, time.perf_counter())
        self.sock.sendall(request)

    def read(self) -> Answer | None:
        """Take the bytes that have arrived; returns the answer when it is complete."""
        data = self.sock.recv(READ_BYTES)
        now = time.perf_counter()
        response = self.response
        if response is None:
            raise MalformedResponseError(f"something that was not asked for: {data[:300]!r}")
        if not data:
            raise MalformedResponseError("the connection was closed")
        return response.answer if response.feed(data, now) else None


def question(job: Job, client: int, number: int) -> dict[str, object]:
    """The body of a request, with a prompt that was never sent before."""
    prompt = f"Question {number} of client {client} in run {job.run}: what is a weir?"
    return {"model": job.model, "messages": [{"role": "user", "content": prompt}], "stream": True}


class Load(ABC):
    """All clients of a job, from the first request to the last answer."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._waiting = list(range(job.clients))  # clients that have not begun
        self._busy = job.clients  # clients that have not ended
        self._answers: list[Answer] = []
        self._failed: list[str] = []
        self._started_at = time.perf_counter()
        self._begin_at = self._started_at + job.warmup_s
        self._end_at = self._begin_at + job.seconds

    @abstractmethod
    def _ask(self, client: int) -> None:
        """Send the client's next request."""

    @abstractmethod
    def _serve(self, pause_s: float) -> None:
        """Read what has arrived; wait so long if nothing has."""

    @abstractmethod
    def _close(self, client: int) -> None:
        """Close the connection of a client that has ended."""

    def run(self) -> Figures:
        """Put the load on the target, and measure."""
        signs = [(self._end_at, "end"), (self._begin_at, "begin")]
        while self._busy or signs:
            now = time.perf_counter()
            while signs and now >= signs[-1][0]:
                print(signs.pop()[1], flush=True)
            if now > self._end_at + FINISH_S:
                self._failed += ["not answered in time"] * self._busy
                break
            self._begin_some(now)
            self._serve(0.002 if self._waiting else 0.05)
        return figures(self._answers, self._failed, self._begin_at, self._end_at)

    def _begin_some(self, now: float) -> None:
        """Start one client after the other; all have begun when half of the warm-up is over."""
        step_s = self._job.warmup_s / 2 / self._job.clients
        while self._waiting and now >= self._started_at + (self._job.clients - len(self._waiting)) * step_s:
            self._ask(self._waiting.pop())

    def _answered(self, client: int, answer: Answer) -> None:
        self._answers.append(answer)
        if time.perf_counter() < self._end_at:
            self._ask(client)
        else:
            self._end(client)

    def _end(self, client: int) -> None:
        self._busy -= 1
        self._close(client)


class HttpLoad(Load):
    """Clients with a connection each."""

    def __init__(self, job: Job) -> None:
        self._clients = [Client(job, number) for number in range(job.clients)]
        self._numbers = {client.sock.fileno(): number for number, client in enumerate(self._clients)}
        self._epoll = select.epoll()
        for descriptor in self._numbers:
            self._epoll.register(descriptor, select.EPOLLIN)
        super().__init__(job)

    def _ask(self, client: int) -> None:
        self._clients[client].ask()

    def _serve(self, pause_s: float) -> None:
        for descriptor, _ in self._epoll.poll(pause_s):
            number = self._numbers[descriptor]
            try:
                answer = self._clients[number].read()
            except (MalformedResponseError, OSError) as error:
                self._failed.append(str(error))
                self._end(number)
                continue
            if answer is not None:
                self._answered(number, answer)

    def _close(self, client: int) -> None:
        self._clients[client].sock.close()


def figures(answers: Sequence[Answer], failed: Sequence[str], begin_at: float, end_at: float) -> Figures:
    """The figures of the answers for the time between begin and end."""
    seconds = end_at - begin_at
    good = [answer for answer in answers if answer.complete]
    sent_within = [answer for answer in good if begin_at <= answer.sent_at < end_at]
    ended_within = [answer for answer in good if begin_at <= answer.last_at < end_at]
    ttfts = [answer.first_at - answer.sent_at for answer in sent_within]
    transits = [transit for answer in sent_within for transit in answer.transits_s]
    texts = [*failed, *(answer.error for answer in answers if answer.error)]
    return Figures(
        seconds=seconds,
        requests=len(sent_within),
        errors=len(texts),
        requests_per_s=len(ended_within) / seconds,
        tokens_per_s=sum(tokens_within(answer, begin_at, end_at) for answer in good) / seconds,
        ttft_ms=1000 * percentile(ttfts, 0.5),
        ttft_p95_ms=1000 * percentile(ttfts, 0.95),
        gap_ms=1000 * percentile([gap for answer in sent_within for gap in gaps(answer)], 0.5),
        token_ms=1000 * median([token_s(answer) for answer in sent_within] or [0.0]),
        transit_ms=1000 * percentile(transits, 0.5),
        transit_p95_ms=1000 * percentile(transits, 0.95),
        error_texts=texts[:ERRORS_SHOWN],
        messages=sum(answer.messages for answer in sent_within) / max(1, len(sent_within)),
    )


def tokens_within(answer: Answer, begin_at: float, end_at: float) -> int:
    """How many tokens of the answer arrived in this time."""
    count = before = 0
    for now, upto in answer.arrivals:
        if begin_at <= now < end_at:
            count += upto - before
        before = upto
    return count


def gaps(answer: Answer) -> list[float]:
    """The time between each token and the one before it; 0 for tokens that arrived together."""
    found: list[float] = []
    before, tokens = answer.first_at, 0
    for now, upto in answer.arrivals:
        if tokens:
            found.append(now - before)
        found += [0.0] * (upto - tokens - 1)
        before, tokens = now, upto
    return found


def token_s(answer: Answer) -> float:
    """Time per token after the first."""
    return (answer.last_at - answer.first_at) / max(1, answer.tokens - 1)


def main(load: type[Load]) -> None:
    """Do the job that is given on stdin."""
    print(orjson.dumps(asdict(load(Job(**orjson.loads(sys.stdin.buffer.readline()))).run())).decode())


if __name__ == "__main__":
    main(HttpLoad)
