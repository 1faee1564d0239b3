"""Refusing messages that are not requests."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelClosed
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope, topics
from weir.chat.audit import Audit
from weir.errors import InvalidRequestError
from weir.events.publishing import Events
from weir.rabbitmq.queues import Queues
from weir.rabbitmq.refusing import DEAD_LETTER_TRIES, Refusing
from weir.rabbitmq.wire import Incoming
from weir.settings import Settings
from weir.telemetry.worker_metrics import Metrics

BODY = b"no json"
CHANNEL = SimpleNamespace(connection=SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131_072)))
ERROR = InvalidRequestError("The body must be a JSON object.", code="invalid_json")


class FakeQueues:
    """Collects published messages."""

    def __init__(self, *, there: bool = True, broken: int = 0) -> None:
        self.published: list[tuple[str, Any]] = []
        self._there, self._broken = there, broken

    async def reach(self, name: str, *, declare: bool) -> bool:
        del name, declare
        return self._there

    async def keep(self, name: str) -> None:
        del name
        self._broken -= 1
        if self._broken >= 0:
            raise ChannelClosed

    async def publish(self, message: Any, name: str) -> None:
        self.published.append((name, message))


def message(**properties: Any) -> Incoming:
    header = ContentHeader()
    given = ContentHeader(body_size=len(BODY), properties=Basic.Properties(**properties))
    header.unmarshal(given.marshal())
    delivery = Basic.Deliver("tag", 1, redelivered=False, exchange="", routing_key="chat_incoming")
    return Incoming(DeliveredMessage(delivery=delivery, header=header, body=BODY, channel=cast("Any", CHANNEL)))


def refusing(log: MemoryLog, queues: FakeQueues | None) -> Refusing:
    return Refusing(
        log=log,
        settings=Settings(),
        queues=lambda: cast("Queues | None", queues),
        metrics=Metrics(),
        audit=Audit(Events(log), "default"),
    )


def letters(log: MemoryLog) -> list[envelope.Event]:
    found = [
        value for at, _ in log.records.items() if at.topic == topics.CHAT_DEAD_LETTERS.name for value in log.values(at)
    ]
    return [envelope.decode(value) for value in found]


async def test_the_sender_is_told_and_the_message_is_kept_in_both_places() -> None:
    log, queues = MemoryLog(), FakeQueues()
    await refusing(log, queues).refuse(message(reply_to="answers"), None, ERROR)
    assert [name for name, _ in queues.published] == ["answers", "chat_incoming.dead"]
    (letter,) = letters(log)
    assert letter.data["reason"] == str(ERROR)


async def test_a_message_whose_sender_cannot_be_told_is_kept_all_the_same() -> None:
    for queues, properties in ((FakeQueues(), {}), (FakeQueues(there=False), {"reply_to": "gone"})):
        log = MemoryLog()
        await refusing(log, queues).refuse(message(**properties), None, ERROR)
        assert [name for name, _ in queues.published] == ["chat_incoming.dead"]
        assert len(letters(log)) == 1


async def test_it_comes_again_where_it_cannot_be_kept() -> None:
    log = MemoryLog()
    with pytest.raises(ConnectionError, match="away for sending"):
        await refusing(log, None).refuse(message(), None, ERROR)
    with pytest.raises(ConnectionError, match="does not take the message"):
        await refusing(log, FakeQueues(broken=DEAD_LETTER_TRIES)).refuse(message(), None, ERROR)
    queues = FakeQueues(broken=DEAD_LETTER_TRIES - 1)
    await refusing(log, queues).refuse(message(), None, ERROR)
    assert len(queues.published) == 1
