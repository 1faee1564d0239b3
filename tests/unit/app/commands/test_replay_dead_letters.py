"""The options of ``faust -A app replay dead-letters``, before the log is read."""

from typing import Any

import pytest
from click.testing import CliRunner

from app.commands import replay_dead_letters
from app.commands.replay import replay
from weir.ranges.errors import UsageError
from weir.ranges.when import Edge, Offsets

NONE: dict[str, Any] = dict.fromkeys(("since", "until", "reason", "topic", "limit", "rate", "resume"))
NONE |= {"where": (), "dry_run": False, "no_wait": False, "patience": 300.0, "as_json": False}


def asked(**given: Any) -> replay_dead_letters.RedriveArguments:
    return replay_dead_letters.RedriveArguments(**{**NONE, **given})


def test_all_there_are_from_some_time_on_is_the_default() -> None:
    one = asked(since="earliest")
    one.check()
    assert one.range == (Edge.EARLIEST, Edge.LATEST)
    assert asked(since="0:5", until="0:9").range == (Offsets({0: 5}), Offsets({0: 9}))


@pytest.mark.parametrize(
    ("given", "reason"),
    [({}, "--from is missing"), ({"since": "yesterday"}, "--from: "), ({"since": "-1h", "until": "x"}, "--to: ")],
)
def test_a_range_that_is_none_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        _ = asked(**given).range


@pytest.mark.parametrize(
    "more",
    [{"since": "-1h"}, {"until": "now"}, {"reason": "r"}, {"where": ("uid=a",)}, {"limit": 1}, {"dry_run": True}],
)
def test_what_is_resumed_was_chosen_before(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--resume goes on with what was decided on"):
        asked(resume="20261121T120000Z-3f2a91c4", **more).check()


def test_a_run_is_resumed_at_another_pace() -> None:
    one = asked(resume="20261121T120000Z-3f2a91c4", rate=5.0, no_wait=True, patience=7.0)
    one.check()
    assert (one.pace.rate, one.pace.wait, one.pace.patience_s) == (5.0, False, 7.0)


@pytest.mark.parametrize("args", [["--limit", "0"], ["--rate", "0"], ["--rate", "fast"], ["--patience", "0"], ["x"]])
def test_numbers_that_make_no_sense_are_usage_errors(args: list[str]) -> None:
    assert CliRunner().invoke(replay, ["dead-letters", "--from", "-1h", *args]).exit_code == 2
