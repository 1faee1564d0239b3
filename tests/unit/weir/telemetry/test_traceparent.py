"""The header of W3C Trace Context, as the standard's own test suite asks for it."""

import pytest

from weir.telemetry.traceparent import mint, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("given", [GOOD, GOOD.encode(), f" {GOOD}\t", f"00-{TRACE}-{SPAN}-00"])
def test_what_is_one_is_passed_on(given: str | bytes) -> None:
    text = given.decode() if isinstance(given, bytes) else given
    assert str(parse(given)) == text.strip()


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (f"cc-{TRACE}-{SPAN}-01", GOOD),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", GOOD),
        (f"00-{TRACE}-{SPAN}-ff", GOOD),  # of the flags, one has a meaning
    ],
)
def test_what_a_later_version_adds_is_left_out(given: str, passed_on: str) -> None:
    assert str(parse(given)) == passed_on


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        "",
        "nonsense",
        GOOD.upper(),
        GOOD + "-more",
        GOOD + ".",
        GOOD + "\n" + GOOD,
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}",
        b"\xff\xfe",
        ["00", TRACE],
        "x" * 100_000,
    ],
)
def test_what_is_none_is_ignored(given: object) -> None:
    assert parse(given) is None


def test_each_trace_of_weirs_own_is_a_new_one_that_is_not_recorded() -> None:
    minted = [mint() for _ in range(100)]
    assert len({place.trace_id for place in minted}) == 100
    assert all(parse(str(place)) == place and place.flags == 0 for place in minted)
