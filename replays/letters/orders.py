"""Orders of RabbitMQ: which queue was to get the answer to a submission, looked up in chat-deliveries."""

from collections.abc import Collection
from dataclasses import replace

from answers.envelope import MalformedRecordError
from app import deliveries, topics
from app.deliveries import Order
from replays.letters.outcomes import Sent
from replays.runs import CLOCKS_S
from replays.spans import Span, each
from transports.log import LogClient, Partition


async def orders_of(log: LogClient, submissions: Collection[str], since_s: float) -> dict[str, Order]:
    """The orders of submissions, by submission; without those that retention has taken.

    Args:
        log: where they are.
        submissions: event ids of requests.
        since_s: when the first of them was accepted, in seconds since the epoch.

    Raises:
        LogError: the log cannot be read.
    """
    found: dict[str, Order] = {}
    topic = topics.CHAT_DELIVERIES.name
    for number in range(log.partitions(topic)) if submissions else ():
        at = Partition(topic, number)
        span = Span(at, await log.offset_at(at, since_s - CLOCKS_S), (await log.bounds(at)).end)
        async for record in each(log, span):
            try:
                order = deliveries.decode(record.value)
            except MalformedRecordError:
                continue
            if order.submission in submissions:
                found[order.submission] = order
    return found


def order_again(order: Order, sent: Sent) -> Order:
    """The same for a request that was sent again."""
    return replace(
        order,
        submission=sent.submission,
        chunks_from=sent.chunks_from,
        chunks_topic_id=sent.chunks_topic_id,
        again=False,
        redriven=True,
    )
