"""The load generator over RabbitMQ: clients that publish a request, read its response queue to the end, and ask again.

    echo '{"port": 5672, "queue": "chat_incoming", "clients": 50, ...}' | python -m bench.queue_load

Job and output are as in `bench.load`. All clients share one connection; each has a channel of its own, so that the
making of a queue delays no other client's answer. A request is one write: its response queue, a consumer, the request
itself, and the end of the previous response queue, which is not read any more.
"""

import select
import time

import orjson
from pamqp import commands

from bench.amqp import Connection, Message, publish
from bench.load import Job, Load, main, question
from bench.replies import Reply

# As Weir makes them by default. RabbitMQ refuses to declare a queue that exists with other arguments.
PREFIX, EXPIRES_MS = "response_", 86_400_000


class QueueLoad(Load):
    """Clients with a channel each: client 0 has channel 1."""

    def __init__(self, job: Job) -> None:
        self._connection = Connection(job.port, name="bench", channels=job.clients)
        # Generator and consumer both make it; a request to a queue that does not exist would be dropped.
        self._connection.send(1, commands.Queue.Declare(queue=job.queue, durable=True, nowait=True))
        self._epoll = select.epoll()
        self._epoll.register(self._connection.sock, select.EPOLLIN)
        self._asked = [0] * job.clients
        self._replies: dict[str, Reply] = {}
        super().__init__(job)

    def _uid(self, client: int) -> str:
        return f"bench-{self._job.run}-{client}-{self._asked[client]}"

    def _ask(self, client: int) -> None:
        old = self._uid(client)
        self._asked[client] += 1
        uid, number = self._uid(client), self._asked[client]
        body = orjson.dumps({**question(self._job, client, number), "uid": uid, "username": "bench"})
        queue = PREFIX + uid
        self._replies[uid] = Reply(uid, self._job.tokens, time.perf_counter())
        self._connection.send(
            client + 1,
            commands.Queue.Declare(queue=queue, durable=True, nowait=True, arguments={"x-expires": EXPIRES_MS}),
            commands.Basic.Consume(queue=queue, consumer_tag=uid, no_ack=True, nowait=True),
            *publish(self._job.queue, body, commands.Basic.Properties(content_type="application/json")),
            *([_delete(old)] if number > 1 else []),
        )

    def _serve(self, pause_s: float) -> None:
        if self._epoll.poll(pause_s):
            messages, now = self._connection.read(), time.perf_counter()
            for message in messages:
                self._take(message, now)

    def _take(self, message: Message, now: float) -> None:
        reply = self._replies.get(message.tag)
        if reply is None:
            self._failed.append(f"after the end of {message.tag}: {message.headers}")
        elif reply.feed(message.headers, message.body, now):
            del self._replies[message.tag]
            self._answered(message.channel - 1, reply.answer)

    def _close(self, client: int) -> None:
        self._connection.send(client + 1, _delete(self._uid(client)))
        if not self._busy:
            self._connection.close()


def _delete(uid: str) -> commands.Queue.Delete:
    return commands.Queue.Delete(queue=PREFIX + uid, nowait=True)


if __name__ == "__main__":
    main(QueueLoad)
