"""Reads one answer: from the bytes of a response to chunk objects, and tells its end from a broken connection.

An answer is whole when its server says so (``[DONE]``, or the end of the body) or when every choice that was asked for
has its finish reason; what happens to the connection after that changes nothing. The first byte of a body shows its
protocol: servers stream under ``application/json``, and send one JSON object under ``text/event-stream``.

Three layers, from the wire inwards:

* *Bytes*: `_next_block` gives the next ones, or None at the end of what there will be. It counts them against the
  answer's limit, waits as long as ``waiting.py`` permits, and remembers a broken connection instead of raising it: what
  arrived before the break may be the whole answer.
* *Events*: `_of_block` makes chunk objects of bytes (``sse.py`` cuts events, ``lenient.py`` reads JSON that is not
  quite JSON, ``deltas`` brings chunks into one shape) and passes each to ``choices.py``. It is a plain generator, since
  it runs for each token. A server that does not stream takes another way to the same chunks (`_one_object`).
* *The end*: `_end` decides once, when no more comes. An answer that a limit has stopped is cut, and ends with a finish
  reason of Weir. One whose choices have all ended is whole. Of any other, the text that was held back is passed on, and
  an error says what is missing.

Nothing is passed on before the first chunk with content. Until then, a failure is one of the call: the caller may make
the call again, or answer with a status of its own.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from typing import Any, Final

import aiohttp
import orjson
from aiohttp.http_exceptions import HttpProcessingError

from weir.envelope import Json
from weir.llm.calls import Call, Timeouts
from weir.llm.choices import Choices
from weir.llm.chunks import as_chunk, checked
from weir.llm.deltas.shape import Shape
from weir.llm.errors import AnswerTooLongError, UpstreamError, broke_off, not_understood
from weir.llm.lenient import Halves, loads, loads_halves
from weir.llm.opening import malformed_http
from weir.llm.sse import MAX_EVENT_BYTES, EventTooLongError, SseDecoder
from weir.llm.thinking import ThinkingSplitter
from weir.llm.waiting import AFTER_FINISH_S, ReadDeadline
from weir.options import ThinkTags
from weir.timing import Patience

DONE: Final = b"[DONE]"
HELD_MAX = 8  # the most chunks that are held until the first with content; then they are passed on
_TAIL_BYTES = 64  # the end of an object, which shows whether it may be complete
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_BREAKS = (aiohttp.ClientError, HttpProcessingError, OSError)


class ChunkReading:
    """The chunks of one answer.

    Args:
        response: the HTTP response, its headers received.
        call: the options of the call.
        timeouts: limits of silence.
        asked: the body of the request.
        began: when the call began, in loop time.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        call: Call,
        timeouts: Timeouts,
        asked: Json,
        *,
        began: float,
    ) -> None:
        self._content = response.content
        self._waiting = ReadDeadline(timeouts, began, began + call.allowance.max_s)
        self._bytes_left, self._tokens_left = call.allowance.max_bytes, call.allowance.max_tokens
        self._choices = Choices(_wanted(asked))
        self._splitter = ThinkingSplitter() if call.think_tags is ThinkTags.SPLIT else None
        self._decoder = SseDecoder()
        self._halves = Halves()
        # Chunks without a model, or without a time, get those of the request.
        self._shape = Shape(_made_up_id, {"model": str(asked.get("model") or ""), "created": int(time.time())})
        self._broken: Exception | None = None
        self._stopped_by: str | None = None  # the limit that stopped the answer
        self._heard = False  # any bytes have arrived
        self._over = False  # the rest of the body is ignored
        self._late = False  # the answer is whole, and the wait for more was long enough

    async def chunks(self) -> AsyncGenerator[Json, None]:
        """Chunk objects as the upstream sent them, brought into shape, with thinking split from content.

        Chunks before the first with content are held back until it comes: until then, a failure is a failure of the
        call, which can be made again, or answered with a status of its own.

        Raises:
            UpstreamError: the answer is not whole, or is not an answer; raised after its last chunk.
        """
        held: list[Json] | None = []
        with closing(Patience()) as patience:
            block: bytes | None = await self._begin(patience) or None
            if block is not None and block.lstrip(_BLANK)[:1] in {b"{", b"["}:
                held, block, self._over = await self._one_object(block, patience), None, True
            while True:
                for chunk in self._of_block(block):
                    if held is None:
                        yield chunk
                    else:
                        held.append(chunk)
                        if self._choices.spoke or len(held) > HELD_MAX:
                            for each in held:
                                yield each
                            held = None
                    if self._choices.spoke:
                        self._waiting.said()
                if self._over or block is None:
                    break
                block = await self._next_of_stream(patience)
        for chunk in self._end() if held is None else [*held, *self._end()]:
            yield chunk

    # -- bytes

    async def _begin(self, patience: Patience) -> bytes:
        """The first bytes, up to one that shows the protocol of the body."""
        begin = b""
        while not begin.removeprefix(_BOM).strip(_BLANK) and len(begin) <= MAX_EVENT_BYTES:
            block = await self._next_block(patience)
            if block is None:
                break
            begin += block
        return begin.removeprefix(_BOM)

    async def _next_block(self, patience: Patience) -> bytes | None:
        """The next bytes; None at the end of the body, at a broken connection, or at a limit of the answer."""
        try:
            return await self._read(patience, self._waiting.deadline)
        except TimeoutError:
            return self._out_of_time()

    async def _read(self, patience: Patience, deadline: float) -> bytes | None:
        if self._stopped_by or self._broken:
            return None
        try:
            with patience.until(deadline):
                block = await self._content.readany()
        except TimeoutError:
            raise
        except _BREAKS as error:
            self._broken = error
            block = _arrived(self._content)
        self._heard = self._heard or bool(block)
        self._bytes_left -= len(block)
        if self._bytes_left < 0:
            self._stopped_by = "ANSWER_MAX_BYTES"
        return block or None

    def _out_of_time(self) -> bytes | None:
        """The result of a wait that was too long: None if the answer is whole or its time is over; else an error."""
        if self._waiting.stopped:
            self._stopped_by = "ANSWER_MAX_S"
        elif not self._choices.whole:
            raise self._waiting.silence()
        return None

    # -- a stream

    def _of_block(self, block: bytes | None) -> Iterator[Json]:
        """The chunks that the next bytes complete; None ends the stream. Not async: it runs for every token."""
        if self._over:
            return
        decoder, choices = self._decoder, self._choices
        for data in _decoded(decoder, block):
            if data[:1] != b"{" and data.strip() == DONE:
                self._over = True
                # A server that sent a finish reason for one choice would have sent it for every choice that has ended.
                end = None if choices.ended else choices.inferred_end()
                if end is not None:
                    yield self._shown(end)
                return
            chunk = self._chunk(data, decoder.name)
            if chunk is None and block is None:
                return  # the connection ended within an event
            chunk = self._shape.chunk(checked(chunk, event_name=decoder.name))
            if choices.add(chunk):
                self._tokens_left -= 1
            yield self._shown(chunk)
            if self._tokens_left <= 0 and not choices.whole:
                self._over, self._stopped_by = True, "ANSWER_MAX_TOKENS"
                return

    async def _next_of_stream(self, patience: Patience) -> bytes | None:
        """The next bytes. Comments may come so fast that no wait is ever too long, so the deadline is checked first."""
        waiting = self._waiting
        if self._choices.whole:
            waiting.finished()
        if not waiting.over:
            return await self._next_block(patience)
        if self._choices.whole and not self._late:
            self._late = True  # the reader was slow, and usage may have arrived already
            return await self._next_block(patience)
        return self._out_of_time()

    def _chunk(self, data: bytes, event_name: bytes) -> Any:
        """The object of an event; None if the event is not JSON."""
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._lenient(data, event_name)
        return self._halves.join(chunk) if self._halves.waiting and isinstance(chunk, dict) else chunk

    def _lenient(self, data: bytes, event_name: bytes) -> Any:
        try:
            chunk = loads_halves(data)
        except ValueError:
            return {"error": data.decode("utf-8", "replace")} if event_name == b"error" else None
        return self._halves.join(chunk) if isinstance(chunk, dict) else None

    # -- one object

    async def _one_object(self, begin: bytes, patience: Patience) -> list[Json]:
        """A whole chat.completion, from a server that does not stream, as one chunk, and an end if that is missing."""
        body, block = bytearray(), begin or None
        while block is not None:
            body += block
            if len(body) > MAX_EVENT_BYTES:
                raise not_understood(f"an answer of more than {MAX_EVENT_BYTES} bytes")
            block = await self._rest_of_object(body, patience)
        try:
            value = loads(bytes(body))
        except ValueError:
            self._check_whole_body()
            raise not_understood("something that is not a JSON object") from None
        self._broken = self._stopped_by = None  # the bytes so far are the whole object
        chunk = self._shape.chunk(as_chunk(value))
        self._choices.add(chunk)
        end = self._choices.inferred_end()
        return [self._shown(chunk)] if end is None else [self._shown(chunk), self._shown(end)]

    async def _rest_of_object(self, body: bytearray, patience: Patience) -> bytes | None:
        """The next bytes of one object; the wait is shorter if the body may be complete."""
        self._waiting.said()
        if bytes(body[-_TAIL_BYTES:]).rstrip(_BLANK)[-1:] in {b"}", b"]"}:
            soon = asyncio.get_running_loop().time() + AFTER_FINISH_S
            try:
                return await self._read(patience, min(soon, self._waiting.deadline))
            except TimeoutError:
                if _is_json(body):
                    return None
        return await self._next_block(patience)

    def _check_whole_body(self) -> None:
        if self._stopped_by is not None:
            raise AnswerTooLongError(self._stopped_by)
        if self._broken is not None:
            raise _break(self._broken)

    # -- ends

    def _end(self) -> Iterator[Json]:
        """The last chunks at the end of the stream; raises if the answer is not whole."""
        choices = self._choices
        if self._stopped_by is not None:
            yield from self._held_back()
            end = choices.cut(self._stopped_by) if choices.spoke else None
            if end is None and not choices.all_ended:
                raise AnswerTooLongError(self._stopped_by)
            if end is not None:
                yield end
            return
        if choices.whole or (choices.all_ended and self._broken is None):
            return
        yield from self._held_back()
        if self._broken is not None:
            raise _break(self._broken)
        if self._heard and not choices.begun:
            raise not_understood("something that is not a stream of chunks")
        raise broke_off(
            "the model's stream ended in the middle of the answer"
            if choices.begun
            else "the model's stream ended without an answer"
        )

    def _held_back(self) -> Iterator[Json]:
        """Text that was held back as a possible tag, and was none."""
        held = self._splitter.close() if self._splitter is not None else []
        if held:
            yield self._choices.chunk(held)

    def _shown(self, chunk: Json) -> Json:
        return chunk if self._splitter is None else self._splitter.split(chunk)


def _wanted(asked: Json) -> int:
    choices = asked.get("n")
    return choices if isinstance(choices, int) else 1


def _made_up_id(*_: int) -> str:
    """An id for a tool call whose server gives none: without an id, no client can answer it."""
    return f"call_{secrets.token_hex(12)}"


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """The bytes that arrived before the connection broke: aiohttp raises first, and does not return them."""
    return b"".join(content._buffer)  # noqa: SLF001 -- no other way to it: each public method raises the break again


def _break(error: Exception) -> UpstreamError:
    if isinstance(error, HttpProcessingError):
        return malformed_http(error)
    if isinstance(error, aiohttp.ClientPayloadError) and "not completed" not in str(error):  # a bad encoding
        return malformed_http(error)
    return broke_off(f"the connection to the model broke ({type(error).__name__})")


def _decoded(decoder: SseDecoder, block: bytes | None) -> Iterator[bytes]:
    try:
        yield from decoder.close() if block is None else decoder.feed(block)
    except EventTooLongError as error:
        raise not_understood(str(error)) from None


def _is_json(body: bytearray) -> bool:
    try:
        loads(bytes(body))
    except ValueError:
        return False
    return True
