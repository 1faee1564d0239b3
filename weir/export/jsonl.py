"""``--format jsonl``: each record as one line of JSON, whatever its content."""

import base64
from typing import Any, Final

import orjson

from weir.export.output import Output
from weir.log.log import Record
from weir.ranges.when import record_time

HALF_MICROSECOND: Final = 5e-7  # times are cut off at microseconds, and a float may lie just below its own
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")  # within JSON they are white space; in strings they are escaped


class JsonlWriter:
    """Writes records, in the order in which they come."""

    def __init__(self, output: Output) -> None:
        self._sink = output.open()

    def add(self, record: Record) -> None:
        """Write one record.

        Raises:
            ReplayError: the file cannot be written.
        """
        self._sink.write(line(record))

    def close(self) -> None:
        """Do nothing: no record is held back."""


def line(record: Record) -> bytes:
    """A record as JSON, with a line feed.

    A value that is JSON is copied as it was written, so that no number loses digits.
    """
    return orjson.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record_time(record.timestamp + HALF_MICROSECOND),
            "key": text_of(record.key),
            "headers": [[name, text_of(value)] for name, value in record.headers],
            "value": _value(record.value),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def text_of(raw: bytes | None) -> Any:
    """Bytes as text, or as ``{"base64": …}`` where they are not UTF-8."""
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _value(value: bytes | None) -> Any:
    try:
        orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return text_of(value)
    return orjson.Fragment((value or b"").translate(_ONE_LINE))
