"""The forms in which people write a place in a topic."""

import pytest

from weir.ranges.errors import UsageError
from weir.ranges.when import Edge, Offsets, Time, When, parse

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20T08:00:00Z", Time(1_795_161_600.0)),
        ("2026-11-20T09:00:00+01:00", Time(1_795_161_600.0)),
        ("2026-11-20T08:00", Time(1_795_161_600.0)),
        ("2026-11-20", Time(1_795_132_800.0)),
        ("-2h", Time(NOW - 7200)),
        ("-1d12h", Time(NOW - 129_600)),
        ("-1h30m15s", Time(NOW - 5415)),
        (" now ", Time(NOW)),
        ("earliest", Edge.EARLIEST),
        ("latest", Edge.LATEST),
        ("0:1200,3:88", Offsets({0: 1200, 3: 88})),
    ],
)
def test_times_ages_edges_and_offsets_are_told_apart(text: str, meant: When) -> None:
    assert parse(text, now=NOW, option="--from") == meant


@pytest.mark.parametrize("text", ["-99999d", "0001-01-01T00:00:00+14:00", "1969-12-31"])
def test_what_was_before_there_were_logs_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--from: .* is (before 1970|no time)"):
        parse(text, now=NOW, option="--from")


@pytest.mark.parametrize("text", ["-" + "9" * 400 + "d", "0:" + "9" * 5000])
def test_numbers_without_end_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--from: .* is not a time"):
        parse(text, now=NOW, option="--from")


@pytest.mark.parametrize(
    "text", ["", "-", "2h", "-2w", "-h", "yesterday", "2026-13-01", "0:", "0:1,", "1:-5", "-30m1h"]
)
def test_what_is_no_place_is_refused_with_the_name_of_its_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--from: .* is not a time"):
        parse(text, now=NOW, option="--from")
