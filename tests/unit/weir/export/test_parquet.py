"""The rows equal the records, as a Parquet reader sees them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.unit.weir.export.helpers import files_of, output_of, record_of
from weir import envelope
from weir.export import parquet
from weir.export.output import Output
from weir.export.parquet import ParquetWriter
from weir.log.log import Record
from weir.ranges.errors import ReplayError, UsageError

EVENT = envelope.encode("evt-1", "t.made", "acme", {"text": "ä", "n": 1})


def written(folder: Path, *records: Record) -> pa.Table:
    with (output := output_of(folder, "a.parquet")):
        writer = ParquetWriter(output)
        for record in records:
            writer.add(record)
        writer.close()
    return pq.read_table(folder / "a.parquet")


def test_an_event_is_spread_over_its_columns(tmp_path: Path) -> None:
    table = written(tmp_path, record_of(EVENT, headers=(("h", b"\xff"), ("h", b"x"))))
    (row,) = table.to_pylist()
    told = envelope.decode(EVENT)
    assert row == {
        "topic": "t",
        "partition": 1,
        "offset": 7,
        "timestamp": datetime(2025, 11, 21, 15, 49, 33, 123000, tzinfo=UTC),
        "key": "k",
        "key_raw": None,
        "event_id": "evt-1",
        "event_type": "t.made",
        "tenant_id": "acme",
        "event_time": datetime.fromisoformat(told.timestamp),
        "source": "weir",
        "data": '{"text":"ä","n":1}',
        "value_raw": None,
        "headers": [("h", b"\xff"), ("h", b"x")],
    }
    assert table.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert (table.schema.field("partition").type, table.schema.field("offset").type) == (pa.int32(), pa.int64())


@pytest.mark.parametrize("value", [b"\xff", b"text", b"[1]", None, b'{"data": 7}'])
def test_what_is_no_event_is_kept_as_it_is(tmp_path: Path, value: bytes | None) -> None:
    (row,) = written(tmp_path, record_of(value, key=b"\xff")).to_pylist()
    assert (row["value_raw"], row["data"], row["key"], row["key_raw"]) == (value, None, None, b"\xff")


def test_an_event_that_is_nested_too_deeply_is_kept_as_it_is(tmp_path: Path) -> None:
    value = EVENT.replace(b'"n":1', b'"n":' + b"[" * 600 + b"]" * 600)
    (row,) = written(tmp_path, record_of(value)).to_pylist()
    assert row["value_raw"] == value


def test_an_event_of_no_time_has_none(tmp_path: Path) -> None:
    value = b'{"event_id":"e","event_type":"t","tenant_id":"x","timestamp":"soon","data":{}}'
    (row,) = written(tmp_path, record_of(value)).to_pylist()
    assert (row["event_time"], row["data"]) == (None, "{}")


@pytest.mark.parametrize("milliseconds", [10**15, 10**16, 2**63 - 1, -(2**63)])
def test_a_time_that_no_calendar_has_is_null(tmp_path: Path, milliseconds: int) -> None:
    table = written(tmp_path, record_of(EVENT, timestamp=milliseconds / 1000), record_of(EVENT))
    assert [row["timestamp"] is None for row in table.to_pylist()] == [True, False]


def test_row_groups_are_bounded_in_rows_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 3)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 100)
    values = [b"x"] * 7 + [bytes(100)] * 2
    table = written(tmp_path, *(record_of(value, offset=offset) for offset, value in enumerate(values)))
    assert table["offset"].to_pylist() == list(range(9))
    file = pq.ParquetFile(tmp_path / "a.parquet")
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [3, 3, 2, 1]
    assert {group.column(0).compression for group in groups} == {"ZSTD"}


def test_a_file_without_rows_can_be_read(tmp_path: Path) -> None:
    assert written(tmp_path).num_rows == 0


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1)
    output = Output(tmp_path / "a.parquet")
    writer = ParquetWriter(output)
    monkeypatch.setattr(output._parts[0][0], "write", _full)
    with pytest.raises(ReplayError, match="cannot write the disk"), output:
        writer.add(record_of(EVENT))
    assert files_of(tmp_path) == {}


def _full(_data: Any) -> int:
    raise ReplayError("cannot write the disk")


def test_without_pyarrow_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match="make install EXTRAS=parquet"):
        ParquetWriter(output_of(tmp_path))
