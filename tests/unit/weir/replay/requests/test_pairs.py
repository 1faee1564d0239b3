"""A request and its replay, compared."""

import zlib

import pytest

from tests.unit.weir.answering.helpers import REQUEST
from weir.log.log import Partition
from weir.replay.report.comparison import AnswerOutcome
from weir.replay.requests.answered import EndedReplay
from weir.replay.requests.pairs import compare, event_id_of, event_of
from weir.replay.requests.selecting import Original, RequestPlace
from weir.replay.runs import Run, RunKind

RUN = Run(id="20260131T120000Z-00000001", kind=RunKind.REQUESTS)


def ended(text: str, status: str = "completed") -> EndedReplay:
    return EndedReplay(AnswerOutcome(model="m", status=status), zlib.compress(text.encode()) if text else b"")


def original(before: EndedReplay | None) -> Original:
    return Original(RequestPlace(0.0, Partition("t", 0), 1), REQUEST, before)


@pytest.mark.parametrize(
    ("before", "after", "similarity", "identical"),
    [
        (ended("the same"), ended("the same"), 1.0, True),
        (ended("something"), ended(""), 0.0, False),
        (ended(""), ended(""), None, True),
        (ended("half", "failed"), ended("half"), None, True),
        (ended("whole"), ended("whole", "cancelled"), None, True),
    ],
)
def test_only_whole_answers_are_alike(
    before: EndedReplay, after: EndedReplay, similarity: float | None, identical: bool
) -> None:
    pair = compare("rpl-1", original(before), after, texts=False)
    assert (pair.similarity, pair.identical) == (similarity, identical)
    assert (pair.uid, pair.replay_of, pair.tenant) == ("rpl-1", REQUEST.uid, REQUEST.tenant)
    assert (pair.original, pair.replay) == (before.outcome, after.outcome)
    assert (pair.original_text, pair.replay_text) == (None, None)


def test_texts_are_kept_where_they_are_asked_for() -> None:
    pair = compare("rpl-1", original(ended("left")), ended("right"), texts=True)
    assert (pair.original_text, pair.replay_text) == ("left", "right")


def test_a_pair_is_told_under_one_id_of_its_run() -> None:
    pair = compare("rpl-1", original(ended("x")), ended("x"), texts=False)
    assert (event_of(RUN, pair).run, event_of(RUN, pair).uid) == (RUN.id, "rpl-1")
    assert event_id_of(RUN, pair) == event_id_of(RUN, pair)


def test_a_pair_needs_the_end_of_its_original() -> None:
    with pytest.raises(RuntimeError, match="before its end"):
        compare("rpl-1", original(None), ended("x"), texts=False)
