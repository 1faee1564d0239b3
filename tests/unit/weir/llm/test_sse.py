"""The decoder of server-sent events, fed at every cut."""

from collections.abc import Iterator

import pytest

from weir.llm.sse import EventTooLongError, SseDecoder

STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "openai": (b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed ends of lines": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r", [b"a", b"b", b"c", b"d"]),
    "comments": (b": hello\n\ndata: a\n: between\n\n:\n\n: OPENROUTER PROCESSING\n\ndata: b\n\n", [b"a", b"b"]),
    "several data lines": (b"data: a\ndata: b\r\ndata:c\n\ndata: d\n\n", [b"a\nb\nc", b"d"]),
    "other fields": (b"event: message\nid: 7\nretry: 10\ndata: a\nx: y\ndatas: no\n\nid: 8\n\n", [b"a"]),
    "no space after the colon": (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    "no final blank line": (b"data: a\n\ndata: b\n", [b"a", b"b"]),
    "no final end of line": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "no final end of line after cr": (b"data: a\r\rdata: b", [b"a", b"b"]),
    "half of a crlf at the end": (b"data: a\r\n\r\ndata: b\r\n\r", [b"a", b"b"]),
    "several data lines and no end": (b"data: a\ndata: b", [b"a\nb"]),
    "several data lines with cr and no end": (b"data: a\rdata: b", [b"a\nb"]),
    "blank lines only": (b"\n\n\r\n\r\r\n", []),
    "nothing": (b"", []),
    "an unfinished field": (b"dat", []),
    "other line ends of unicode are text": (
        "data: a\u2028b\u0085c\x0bd\x0ce\x1cf\n\n".encode(),
        ["a\u2028b\u0085c\x0bd\x0ce\x1cf".encode()],
    ),
    "letters of several bytes": ("data: 水👩‍👩‍👧\n\n".encode(), ["水👩‍👩‍👧".encode()]),
}


def decoded(blocks: Iterator[bytes], max_event_bytes: int = 1000) -> list[bytes]:
    decoder = SseDecoder(max_event_bytes=max_event_bytes)
    events = [event for block in blocks for event in decoder.feed(block)]
    return events + list(decoder.close())


def blocks_of(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_anywhere_gives_the_same_events(name: str) -> None:
    stream, events = STREAMS[name]
    for cut in range(len(stream) + 1):
        assert decoded(iter([stream[:cut], stream[cut:]])) == events, f"cut at {cut}"


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_twice_gives_the_same_events(name: str) -> None:
    stream, events = STREAMS[name]
    for cut in range(len(stream) + 1):
        for again in range(cut, len(stream) + 1):
            assert decoded(iter([stream[:cut], stream[cut:again], b"", stream[again:]])) == events, (cut, again)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_a_stream_in_blocks_of_one_size_gives_the_same_events(name: str, size: int) -> None:
    stream, events = STREAMS[name]
    assert decoded(blocks_of(stream, size)) == events


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_event_is_given_as_soon_as_its_blank_line_is_there(end: bytes) -> None:
    """A token must not wait for the next one."""
    decoder = SseDecoder()
    assert list(decoder.feed(b"data: a" + end)) == []
    assert list(decoder.feed(end)) == [b"a"]
    assert list(decoder.feed(b"data: b" + end + end + b"data: c")) == [b"b"]


def test_a_decoder_gives_nothing_twice_when_it_is_closed() -> None:
    decoder = SseDecoder()
    assert list(decoder.feed(b"data: a\n\ndata: b\n")) == [b"a"]
    assert list(decoder.close()) == [b"b"]
    assert list(decoder.close()) == []


LONG = {
    "one line without an end": [b"data: ", b"x" * 60, b"x" * 60],
    "one line in one block": [b"data: " + b"x" * 101 + b"\n\n"],
    "many lines of one event": [b"data: 0123456789\n"] * 11,
    "a comment without an end": [b":", b"x" * 101],
}


@pytest.mark.parametrize("blocks", LONG.values(), ids=LONG.keys())
def test_an_event_that_never_ends_is_refused(blocks: list[bytes]) -> None:
    with pytest.raises(EventTooLongError, match="100 bytes"):
        decoded(iter(blocks), max_event_bytes=100)


def test_the_limit_is_one_event_and_not_the_stream() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    for _ in range(50):
        assert list(decoder.feed(b": comment\ndata: " + b"x" * 45 + b"\ndata: " + b"y" * 45)) == []
        assert list(decoder.feed(b"\n\n")) == [b"x" * 45 + b"\n" + b"y" * 45]
