"""The load generator's reading, fed in every way that a socket may cut it."""

import itertools

import pytest

from bench.load import figures, gaps, tokens_within
from bench.reading import MalformedResponseError, Response
from bench.upstream import HEAD, script

SENT_AT = 100.0


def answer_bytes(tokens: int = 3, *, stamp: int = 100_000_000) -> bytes:
    speech = script(f"{tokens}-tokens-0-ms", include_usage=True)
    assert speech is not None
    return HEAD + b"".join(token % stamp for token in speech.tokens) + speech.end


def fed(data: bytes, *cuts: int, tokens: int = 3) -> Response:
    response = Response(tokens, SENT_AT)
    edges = [0, *cuts, len(data)]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        over = response.feed(data[start:end], SENT_AT + 1 + number)
        assert over == (end == len(data))
    return response


def test_an_answer_in_one_piece_is_complete() -> None:
    answer = fed(answer_bytes()).answer
    assert answer.complete
    assert answer.tokens == 3
    assert answer.arrivals == [(SENT_AT + 1, 3)]
    assert list(answer.transits_s) == [1.0, 1.0, 1.0]


def test_an_answer_may_be_cut_at_every_byte() -> None:
    data = answer_bytes()
    for cut in range(1, len(data)):
        answer = fed(data, cut).answer
        assert answer.complete, cut
        assert answer.tokens == 3, cut


def test_an_answer_may_come_byte_by_byte() -> None:
    data = answer_bytes()
    answer = fed(data, *range(1, len(data))).answer
    assert answer.complete
    assert len(answer.arrivals) == 3
    assert answer.first_at < answer.last_at


def test_events_with_an_id_line_many_in_one_chunk_are_read() -> None:
    events = b"".join(
        b'id: r:%d\ndata: {"choices":[{"delta":{"content":"%d@00000100000000 "}}]}\n\n' % (n, n) for n in range(3)
    )
    body = events + b"data: [DONE]\n\n"
    answer = fed(HEAD + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)).answer
    assert answer.complete
    assert answer.arrivals == [(SENT_AT + 1, 3)]


@pytest.mark.parametrize("kept", [[0, 2], [0, 1], [0, 1, 1, 2], [1, 0, 2]])
def test_a_token_missing_doubled_or_out_of_order_is_an_error(kept: list[int]) -> None:
    speech = script("3-tokens-0-ms", include_usage=False)
    assert speech is not None
    data = HEAD + b"".join(speech.tokens[index] % 0 for index in kept) + speech.end
    assert not fed(data).answer.complete


def test_an_answer_without_its_end_mark_is_an_error() -> None:
    data = answer_bytes()
    at = data.index(b"e\r\ndata: [DONE]")
    assert not fed(data[:at] + b"0\r\n\r\n").answer.complete


@pytest.mark.parametrize("head", [b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_another_status_or_coding_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        Response(3, SENT_AT).feed(head, SENT_AT)


def test_a_chunk_of_no_size_is_refused() -> None:
    with pytest.raises(MalformedResponseError):
        Response(3, SENT_AT).feed(HEAD + b"what?\r\n", SENT_AT)


def test_tokens_that_came_together_have_no_time_between_them() -> None:
    response = Response(3, SENT_AT)
    response.answer.first_at, response.answer.arrivals = 1.0, [(1.0, 2), (1.5, 3), (2.5, 5)]
    assert gaps(response.answer) == [0.0, 0.5, 1.0, 0.0]


def test_only_what_came_within_the_time_counts() -> None:
    answer = fed(answer_bytes(), 400, 800).answer
    assert tokens_within(answer, SENT_AT, SENT_AT + 100) == 3
    assert tokens_within(answer, SENT_AT, SENT_AT + 1) == 0
    of = figures([answer], ["gone"], begin_at=SENT_AT, end_at=SENT_AT + 10)
    assert (of.requests, of.errors, of.requests_per_s, of.tokens_per_s) == (1, 1, 0.1, 0.3)
    assert of.error_texts == ["gone"]
