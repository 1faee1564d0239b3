"""``--format parquet``: a table with a row for each record, for DuckDB, Spark, pandas and the like."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from weir import envelope
from weir.envelope import MalformedRecordError
from weir.export.output import Output
from weir.log.log import Record
from weir.ranges.errors import UsageError

GROUP_ROWS: Final = 20_000
GROUP_BYTES: Final = 16 << 20  # of keys and values: the most that is held before it is written, and one more record
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class ParquetWriter:
    """Writes records as rows.

    Args:
        output: the file to write to.

    Raises:
        UsageError: pyarrow is not installed.
    """

    def __init__(self, output: Output) -> None:
        self._schema = schema()
        from pyarrow import parquet

        self._sink = output.open()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._size_bytes = 0

    def add(self, record: Record) -> None:
        """Take one record; it is written when a row group is full.

        Raises:
            ReplayError: the file cannot be written.
        """
        self._rows.append(row(record))
        self._size_bytes += len(record.key or b"") + len(record.value or b"")
        if len(self._rows) >= GROUP_ROWS or self._size_bytes >= GROUP_BYTES:
            self._write()

    def close(self) -> None:
        """Write the rest of the rows, and the file's end.

        Raises:
            ReplayError: the file cannot be written.
        """
        if self._rows:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa

        rows, self._rows, self._size_bytes = self._rows, [], 0
        self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema), row_group_size=len(rows))


def schema() -> Any:
    """The columns, as a ``pyarrow.Schema``.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError("--format parquet needs the extra parquet: make install EXTRAS=parquet") from None
    time = pa.timestamp("us", tz="UTC")
    text, raw = pa.string(), pa.binary()
    return pa.schema(
        [
            ("topic", text),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("timestamp", time),
            ("key", text),
            ("key_raw", raw),
            ("event_id", text),
            ("event_type", text),
            ("tenant_id", text),
            ("event_time", time),
            ("source", text),
            ("data", text),
            ("value_raw", raw),
            ("headers", pa.map_(text, raw)),
        ]
    )


def row(record: Record) -> dict[str, Any]:
    """The columns of a record; missing ones are null."""
    found: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": _microseconds(record.timestamp),
        "headers": list(record.headers),
        **_key(record.key),
    }
    try:
        event = envelope.decode(record.value)
        data = orjson.dumps(event.data).decode()
    except (MalformedRecordError, TypeError):  # not an event of Weir, or nested more deeply than can be written again
        return {**found, "value_raw": record.value}
    return {
        **found,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "tenant_id": event.tenant_id,
        "event_time": _time(event.timestamp),
        "source": event.source,
        "data": data,
    }


def _key(key: bytes | None) -> dict[str, Any]:
    try:
        return {"key": None if key is None else key.decode()}
    except UnicodeDecodeError:
        return {"key_raw": key}


def _microseconds(seconds: float) -> int | None:
    """Microseconds of a record's time; None if no calendar has it: a client of Kafka may set any time."""
    found = round(seconds * 1e6)
    return found if _FIRST <= found <= _LAST else None


def _time(written: str) -> int | None:
    """Microseconds since the epoch of an ISO 8601 time; None for any other text. A float would lose the last digit."""
    try:
        found = datetime.fromisoformat(written)
        return ((found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
