"""Writes requests into chat-requests: those that a door accepts, and those that a Kafka client put elsewhere."""

import asyncio
from dataclasses import replace

from weir import topics
from weir.chat import requests
from weir.chat.requests import ChatRequest, chunks_of
from weir.errors import InvalidRequestError
from weir.log.log import Headers, LogClient, RecordTooLargeError, value_max_bytes
from weir.log.tails import Tails


class RequestWriter:
    """Writes the requests of one worker.

    Args:
        log: the log client.
        tails: the tails; they know where an answer will begin.
        value_max_bytes: the limit of a record's value, where the log itself takes more.
    """

    def __init__(self, log: LogClient, tails: Tails, *, value_max_bytes: int) -> None:
        self._log, self._tails, self._value_max_bytes = log, tails, value_max_bytes

    def begin(
        self, request: ChatRequest, partition: int, headers: Headers = requests.ACCEPTED
    ) -> "asyncio.Future[int]":
        """Begin to write a request into its partition; the future gives its offset, once the log has it.

        Raises:
            InvalidRequestError: the request does not fit into a record.
        """
        value = self._encode(request)
        return asyncio.ensure_future(
            self._log.append(topics.CHAT_REQUESTS.name, partition, request.key, value, headers)
        )

    async def move(self, request: ChatRequest, headers: Headers) -> None:
        """Write a request that a Kafka client put into another partition than its uid's, with its headers.

        The original is read again if this worker dies before the moved record is settled; both records have one event
        id.

        Raises:
            InvalidRequestError: the request does not fit into a record with what Weir adds.
            LogError: the record may or may not be in the log.
        """
        at = chunks_of(self._log, request.uid)
        end = await self._tails.end(at)
        request = replace(request, chunks_from=end.offset, chunks_topic_id=end.topic_id)
        try:
            await self.begin(request, at.partition, (*headers, *requests.ACCEPTED))
        except RecordTooLargeError as error:
            raise too_large(error) from error

    def _encode(self, request: ChatRequest) -> bytes:
        try:
            value = requests.encode(request)
        except TypeError:
            raise InvalidRequestError("The body is nested too deeply.", code="invalid_json") from None
        max_bytes = min(self._value_max_bytes, value_max_bytes(self._log, topics.CHAT_REQUESTS.name, request.key))
        if len(value) > max_bytes:
            raise too_large(f"{len(value)} bytes, and the log takes {max_bytes}")
        return value


def too_large(reason: object) -> InvalidRequestError:
    """Return the error of a request that does not fit into one record."""
    return InvalidRequestError(
        f"The request does not fit into one record: {reason}.", code="request_too_large", status=413
    )
