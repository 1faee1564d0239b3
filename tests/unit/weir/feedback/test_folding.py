"""What each event does to a row of the feedback table, for the agent and for the verification alike."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.feedback.helpers import REQUEST, piece
from weir.envelope import Json
from weir.errors import InvalidRequestError
from weir.feedback import folding, pieces
from weir.feedback.pieces import Piece, Standing
from weir.feedback.rules import Count
from weir.settings import Settings

SETTINGS = Settings(feedback_per_request_max=2)
ONE = piece(feedback_id="one", tenant="acme")
OTHER = replace(ONE, feedback_id="two")
FOREIGN = replace(ONE, feedback_id="three", tenant="other")
HUGE = replace(ONE, feedback_id="huge", category="x" * 600_000)
RUNNING = {**REQUEST, "state": "running"}
REPLAY = {**REQUEST, "replay": "20261121T120000Z-3f2a91c4"}


def row(*kept: Piece) -> Json | None:
    return pieces.row_of("req-1", kept)


@pytest.mark.parametrize(
    ("before", "request_", "counts_as", "after"),
    [
        ((), None, Count.RECEIVED, ["one"]),
        ((), RUNNING, Count.RECEIVED, ["one"]),
        ((OTHER,), REQUEST, Count.RECEIVED, ["two", "one"]),
        ((ONE,), REQUEST, Count.DUPLICATE, ["one"]),
        ((ONE, OTHER), REQUEST, Count.DUPLICATE, ["one", "two"]),
        ((OTHER,), {**REQUEST, "tenant": "other"}, Count.FOREIGN, ["two"]),
    ],
)
def test_a_piece_is_kept_once_for_its_own_tenants_request(
    before: tuple[Piece, ...], request_: Json | None, counts_as: Count, after: list[str]
) -> None:
    kept = folding.keep(row(*before), ONE, request_, SETTINGS)
    assert (kept.counts_as, [one.feedback_id for one in kept.pieces]) == (counts_as, after)


@pytest.mark.parametrize(
    ("before", "request_"),
    [((OTHER, replace(ONE, feedback_id="four")), REQUEST), ((HUGE,), REQUEST), ((), REPLAY)],
    ids=["as many as a request may have", "as large as half a row", "a replay's answer"],
)
def test_a_row_that_is_full_and_a_replay_take_none(before: tuple[Piece, ...], request_: Json) -> None:
    with pytest.raises(InvalidRequestError):
        folding.keep(row(*before), ONE, request_, SETTINGS)


@pytest.mark.parametrize(
    ("before", "request_", "due"),
    [
        ((ONE,), REQUEST, ["one"]),
        ((ONE, FOREIGN), REQUEST, ["one"]),
        ((FOREIGN,), REQUEST, []),
        ((ONE,), RUNNING, None),
        ((ONE,), REPLAY, None),
        ((ONE,), None, None),
        ((replace(ONE, state=Standing.EXPIRED),), REQUEST, None),
        ((), REQUEST, None),
    ],
)
def test_the_end_of_a_request_is_due_to_what_waits_for_it(
    before: tuple[Piece, ...], request_: Json | None, due: list[str] | None
) -> None:
    found = folding.due(row(*before), request_)
    assert (None if found is None else [one.feedback_id for one, _ in found]) == due


def test_what_is_joined_has_its_signal_and_what_is_another_tenants_is_dropped() -> None:
    before = row(ONE, FOREIGN)
    signals: Any = folding.due(before, REQUEST)
    joined = folding.join(before, signals, REQUEST, "2026-01-31T12:00:00Z")
    assert [(one.feedback_id, one.state) for one in joined.pieces] == [("one", Standing.JOINED)]
    assert (joined.joined, joined.foreign) == (1, 1)
