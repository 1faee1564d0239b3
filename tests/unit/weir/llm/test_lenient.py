"""JSON that is nearly JSON, and characters in two halves, cut at every place."""

import json

import orjson
import pytest

from weir.envelope import Json
from weir.llm.lenient import Halves, loads, loads_halves

TEXTS = ["Hi 😀!", "😀", "👩‍👩‍👧 and 水", "Grüße", "a😀b😀"]


def chunk(text: str, finish_reason: str | None = None, index: int = 0) -> Json:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish_reason}]}


def joined(pieces: list[bytes]) -> str:
    """The content of chunks whose JSON is written by hand."""
    halves, text = Halves(), ""
    for piece in pieces:
        data = b'{"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % piece
        text += halves.join(loads_halves(data))["choices"][0]["delta"]["content"]
    end = halves.join(chunk("", "stop"))
    orjson.dumps(end)
    return text + (end["choices"][0]["delta"]["content"] or "")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_cut_between_its_bytes_is_joined(text: str) -> None:
    raw = text.encode()
    for cut in range(len(raw) + 1):
        for again in range(cut, len(raw) + 1):
            assert joined([raw[:cut], raw[cut:again], raw[again:]]) == text, (cut, again)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_cut_between_its_escapes_is_joined(text: str) -> None:
    units = [json.dumps(chr(unit))[1:-1].encode() for unit in memoryview(text.encode("utf-16-le")).cast("H")]
    assert joined(units) == text
    for cut in range(len(units) + 1):
        assert joined([b"".join(units[:cut]), b"".join(units[cut:])]) == text, cut


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([rb"a\ud83d", b"b"], "a\ufffdb"),
        ([rb"a\ud83d"], "a\ufffd"),
        ([rb"\ude00a"], "\ufffda"),
        ([rb"\ud83d", rb"\ud83d", rb"\ude00"], "\ufffd😀"),
        ([b"\xf0\x9f", b"a"], "\ufffda"),
        ([b"\xff", b"\xc3"], "\ufffd\ufffd"),
    ],
)
def test_a_half_that_stays_alone_is_replaced(pieces: list[bytes], text: str) -> None:
    assert joined(pieces) == text


def test_halves_of_other_choices_and_fields_are_not_mixed() -> None:
    halves = Halves()
    first = halves.join(chunk("a\ud83d"))
    other = halves.join(chunk("\ude00", index=1))
    arguments = [{"index": 0, "function": {"arguments": "\ud83d"}}]
    call = halves.join({"choices": [{"index": 0, "delta": {"tool_calls": arguments}}]})
    rest = halves.join(chunk("\ude00b"))
    texts = [each["choices"][0]["delta"].get("content") for each in (first, other, call, rest)]
    assert texts == ["a", "\ufffd", None, "😀b"]
    assert halves.waiting, "the other half of the arguments"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity]}', {"a": None, "b": [None, None]}),
        (b'{"logprob": -Infinity}', {"logprob": -9999.0}),
        (b'{"a": 1e999}', {"a": None}),
        (b'{"a": NaN, "b": 123456789012345678901234567890}', {"a": None, "b": 1.2345678901234568e29}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "x\ty"}', {"a": "x\ty"}),
        (b'{"\\ud83d": "\\ud83d"}', {"\ufffd": "\ufffd"}),
        (b'{"a": "\xe9"}', {"a": "\ufffd"}),
    ],
)
def test_what_orjson_refuses_is_read_so_that_it_can_be_written(data: bytes, value: Json) -> None:
    assert loads(data) == value
    orjson.dumps(loads(data))


@pytest.mark.parametrize("data", [b"", b"{", b"hello", b"{'a': 1}", b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_no_json_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(data)
