"""Texts from outside are cut, and reduced values always fit."""

from functools import reduce
from typing import Any

import orjson
import pytest

from weir import limits
from weir.envelope import Json, MalformedRecordError

LONG = "x" * 400_000
DEEP: Json = reduce(lambda inner, _: {"x": inner}, range(2000), {})
OBJECTS: dict[str, Json] = {
    "empty": {},
    "one long string": {"a": LONG},
    "many members": {f"member {n}": n for n in range(100_000)},
    "many long members": {f"member {n}": "y" * 5000 for n in range(1000)},
    "long names": {f"{n}{LONG}": n for n in range(5)},
    "a long list": {"a": list(range(100_000))},
    "lists in lists": {"a": [["z" * 300] * 300] * 300},
    "nested deeply": DEEP,
    "an integer that orjson does not write": {"a": 2**200},
    "half a surrogate pair": {"a": "\ud800"},
    "numbers": {"total_tokens": 7, "rate": 0.5, "exact": True, "none": None},
}


@pytest.mark.parametrize("value", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("max_bytes", [500, limits.OBJECT_BYTES, 1 << 20])
def test_what_is_made_smaller_fits_and_can_be_read(value: Json, max_bytes: int) -> None:
    fitted = limits.fitted(value, max_bytes)
    written = orjson.dumps(fitted)
    assert len(written) <= max_bytes
    assert isinstance(orjson.loads(written), dict)


@pytest.mark.parametrize("value", [{}, {"a": "x" * 100}, {"a": [1, {"b": None}]}])
def test_what_fits_is_the_same_object(value: Json) -> None:
    assert limits.fitted(value, 1000) is value


def test_the_first_members_stay_and_long_strings_go_first() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "note": LONG}
    assert limits.small_object(usage) == {"prompt_tokens": 3, "completion_tokens": 4, "note": "x" * 1023 + "…"}


@pytest.mark.parametrize(
    ("value", "short"),
    [
        (None, None),
        ("stop", "stop"),
        ("", ""),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 255 + "…"),
        ({"a": 1}, '{"a":1}'),
        (["a"] * 1000, ('["a"' + ',"a"' * 999)[:255] + "…"),
        (7, "7"),
        (DEEP, "(cannot be written)"),
    ],
)
def test_a_name_is_a_short_string_whatever_was_sent(value: Any, short: str | None) -> None:
    assert limits.name(value) == short


@pytest.mark.parametrize("field", ["message", "type", "param", "code", "inner", "status"])
@pytest.mark.parametrize("value", [LONG, {"a": LONG}, [LONG] * 3, DEEP], ids=["text", "object", "list", "deep"])
def test_an_error_fits_whatever_its_fields_hold(field: str, value: Any) -> None:
    error = limits.error_object({"message": "no", "type": "t", "param": None, "code": 7, field: value})
    assert len(orjson.dumps(error)) <= limits.ERROR_BYTES
    assert {"message", "type", "param", "code"} <= error.keys()
    assert all(len(str(error[name])) <= limits.MESSAGE_CHARS for name in ("message", "type", "param", "code"))


def test_an_error_keeps_its_openai_fields_before_all_others() -> None:
    extra = {f"extra {n}": LONG for n in range(10_000)}
    error = limits.error_object({**extra, "message": "no", "type": "t", "param": "p", "code": "c", "status": 400})
    assert {name: error[name] for name in ("message", "type", "param", "code", "status")} == {
        "message": "no",
        "type": "t",
        "param": "p",
        "code": "c",
        "status": 400,
    }


def test_a_reason_that_quotes_a_record_is_short() -> None:
    assert len(str(MalformedRecordError(LONG))) == 500
