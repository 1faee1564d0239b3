"""Any record becomes one line without loss."""

from typing import Any

import orjson
import pytest

from tests.unit.weir.export.helpers import record_of
from weir.export.jsonl import line


def value_of(value: bytes | None) -> Any:
    written = line(record_of(value))
    assert written.endswith(b"}\n")
    assert written.count(b"\n") == 1
    return orjson.loads(written)["value"]


def test_a_record_has_all_its_parts() -> None:
    record = record_of(b'{"a": 1}', headers=(("h", b"x"), ("h", b"\xff")))
    assert orjson.loads(line(record)) == {
        "topic": "t",
        "partition": 1,
        "offset": 7,
        "timestamp": "2025-11-21T15:49:33.123000Z",
        "key": "k",
        "headers": [["h", "x"], ["h", {"base64": "/w=="}]],
        "value": {"a": 1},
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (b"", ""),
        (b"plain", "plain"),
        (b"\xff\xfe", {"base64": "//4="}),
        (b'{"text": "\\n\xe2\x80\xa8"}', {"text": "\n\u2028"}),
        (b'{\n  "a": [\r\n 1 ]\n}\n', {"a": [1]}),
        (b'"text"', "text"),
        (b"NaN", "NaN"),
        (b'{"a": "\\ud800"}', '{"a": "\\ud800"}'),  # no text that UTF-8 could hold
    ],
)
def test_a_value_is_json_or_text_or_base64(value: bytes | None, shown: Any) -> None:
    assert value_of(value) == shown


def test_numbers_keep_their_digits() -> None:
    digits = b"123456789012345678901234567890.50"
    assert b'"value":' + digits + b"}" in line(record_of(digits))


def test_what_is_nested_deeper_than_can_be_written_again_is_written() -> None:
    deep = b"[" * 600 + b"]" * 600
    assert deep in line(record_of(deep))


@pytest.mark.parametrize(("key", "shown"), [(None, None), (b"\xff", {"base64": "/w=="}), (b"", "")])
def test_a_key_may_be_anything(key: bytes | None, shown: Any) -> None:
    assert orjson.loads(line(record_of(b"1", key=key)))["key"] == shown


@pytest.mark.parametrize("milliseconds", [10**15, 10**16, 2**63 - 1, -(2**63)])
def test_a_time_that_no_calendar_has_is_null(milliseconds: int) -> None:
    assert orjson.loads(line(record_of(b"1", timestamp=milliseconds / 1000)))["timestamp"] is None


@pytest.mark.parametrize("milliseconds", range(0, 1000, 37))
def test_a_time_is_not_cut_below_its_millisecond(milliseconds: int) -> None:
    written = orjson.loads(line(record_of(b"1", timestamp=1_763_740_173 + milliseconds / 1000)))
    assert written["timestamp"] == f"2025-11-21T15:49:33.{milliseconds:03d}000Z"
