"""The text that goes into messages, and the part of it that is sent already."""

import zlib
from typing import Any

import pytest

from weir.envelope import Json
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.text import Ahead, DivergedError, Text


def chunk(index: int = 0, /, **delta: Any) -> Json:
    return {"choices": [{"index": index, "delta": delta}]}


def said(chunks: list[Json], *, thinking: bool = False) -> str:
    text = Text("u-1", thinking=thinking)
    return (b"".join(text.add([each]) for each in chunks) + text.end()).decode()


def test_the_text_is_what_the_deltas_say_and_nothing_else() -> None:
    chunks = [
        chunk(role="assistant", content=""),
        chunk(content="Hé"),
        chunk(content=" wörld"),
        {"choices": []},
        chunk(),
    ]
    assert said(chunks) == "Hé wörld"


def test_only_the_first_choice_has_room_in_a_queue() -> None:
    assert said([chunk(content="a"), chunk(1, content="b"), chunk(content="c")]) == "ac"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_is_left_out_unless_it_is_wanted(name: str) -> None:
    chunks = [chunk(**{name: "hm, "}), chunk(**{name: "yes"}), chunk(content="Yes."), chunk(content=" No.")]
    assert said(chunks) == "Yes. No."
    assert said(chunks, thinking=True) == "<think>\nhm, yes\n</think>\n\nYes. No."


def test_thinking_without_a_text_is_closed_at_the_end() -> None:
    assert said([chunk(reasoning_content="hm")], thinking=True) == "<think>\nhm\n</think>\n\n"


def test_half_a_surrogate_pair_stops_nothing() -> None:
    assert said([chunk(content="a\ud83d"), chunk(content="b")]) == "a?b"


def test_tool_calls_are_merged_as_a_message_has_them() -> None:
    text = Text("u-1", thinking=False)
    for delta in (
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ": 1}"}},
    ):
        assert text.add([chunk(tool_calls=[delta])]) == b""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    assert text.beside == {"tool_calls": calls}


def test_a_refusal_is_no_text_of_the_answer() -> None:
    text = Text("u-1", thinking=False)
    assert text.add([chunk(refusal="I "), chunk(refusal="won't."), chunk(1, refusal="No.")]) == b""
    assert text.beside == {"refusal": "I won't."}


def test_an_answer_of_text_alone_has_nothing_beside_it() -> None:
    text = Text("u-1", thinking=False)
    text.add([chunk(content="a", tool_calls=None, refusal=None)])
    assert text.beside == {}


# -- what is out already


def out(text: bytes) -> DeliveryProgress:
    return DeliveryProgress(seq=3, position=len(text), crc=zlib.crc32(text))


@pytest.mark.parametrize("pieces", [[b"Hello world"], [b"Hel", b"lo wor", b"ld"], [b"H", b"ello", b" ", b"world"]])
@pytest.mark.parametrize("length", range(12))
def test_what_is_out_is_left_out_however_it_is_cut(pieces: list[bytes], length: int) -> None:
    whole = b"".join(pieces)
    ahead = Ahead(out(whole[:length]))
    assert b"".join(ahead.rest(piece) for piece in pieces) == whole[length:]
    ahead.end()


@pytest.mark.parametrize("again", [[b"Hallo world"], [b"Ha", b"llo"], [b"hello"]])
def test_an_answer_that_differs_from_what_is_out_does_not_go_on(again: list[bytes]) -> None:
    ahead = Ahead(out(b"Hello"))
    with pytest.raises(DivergedError):
        list(map(ahead.rest, again))


def test_an_answer_that_differs_behind_what_is_out_goes_on() -> None:
    assert Ahead(out(b"Hello")).rest(b"Hello there") == b" there"


def test_an_answer_that_ends_before_what_is_out_has_diverged() -> None:
    ahead = Ahead(out(b"Hello world"))
    assert ahead.rest(b"Hello") == b""
    with pytest.raises(DivergedError):
        ahead.end()


def test_nothing_out_is_nothing_to_leave_out() -> None:
    ahead = Ahead(DeliveryProgress())
    assert ahead.rest(b"Hello") == b"Hello"
    ahead.end()
