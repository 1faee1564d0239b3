"""The feedback on an answer, and whether it makes the answer an example."""

import pytest

from tests.unit.weir.export.helpers import FEEDBACK, rate, whole
from tests.unit.weir.log.memory_log import MemoryLog
from weir.export.opinions import Opinion, Opinions, verdict
from weir.export.tally import Skip
from weir.log.log import Partition
from weir.ranges.progress import UNSEEN
from weir.settings import load_settings
from weir.timing import CLOCKS_APART_S


async def opinions_of(log: MemoryLog) -> Opinions:
    opinions = Opinions(log, load_settings({}))
    await opinions.read([whole(log, FEEDBACK)], UNSEEN)
    return opinions


async def test_explicit_feedback_is_added_up() -> None:
    log = MemoryLog()
    rate(log, "a", "thumbs_up")
    rate(log, "a", "rating", rating=3)
    rate(log, "a", "implicit_reject")  # what a client concluded
    rate(log, "a", "implicit_accept", feedback_source="explicit")  # as the agent has it: never explicit
    opinion = (await opinions_of(log)).of("default", "a")
    assert (opinion.mean, opinion.count) == (0.5, 2)


async def test_feedback_of_another_tenant_is_none() -> None:
    log = MemoryLog()
    rate(log, "a", "thumbs_up", tenant="other")
    opinions = await opinions_of(log)
    assert opinions.of("default", "a").mean is None
    assert opinions.of("other", "a").mean == 1


async def test_feedback_that_was_written_twice_counts_once() -> None:
    log = MemoryLog()
    for _ in range(2):
        rate(log, "a", "thumbs_down", event_id="evt-1")
    rate(log, "a", "thumbs_up")
    assert (await opinions_of(log)).of("default", "a").mean == 0


async def test_what_a_worker_would_not_take_is_none() -> None:
    log = MemoryLog()
    rate(log, "a", "rating", rating=9)
    rate(log, "a", "rating")
    rate(log, "a", "applause")
    rate(log, "a", "thumbs_up", rating=5)
    rate(log, "a", "correction", original="x", corrected="x")
    log.put(FEEDBACK, b"a", b"no JSON")
    log.put(FEEDBACK, b"a", None)
    assert (await opinions_of(log)).of("default", "a") == Opinion()


async def test_the_latest_correction_is_read_where_it_stands() -> None:
    log = MemoryLog()
    for now, text in ((5.0, "early"), (9.0, "latest"), (7.0, "between")):
        log.now = now
        rate(log, "a", "correction", original="x", corrected=text)
    opinions = await opinions_of(log)
    correction = opinions.of("default", "a").correction
    assert correction is not None
    assert await opinions.corrected(correction) == "latest"
    log.starts[FEEDBACK] = 2
    assert await opinions.corrected(correction) is None


async def test_feedback_is_looked_for_since_the_range_began_until_now() -> None:
    log = MemoryLog()
    for now in (0.0, 1000.0 - CLOCKS_APART_S, 5000.0):
        log.now = now
        rate(log, "a", "thumbs_up")
    spans = await Opinions(log, load_settings({})).spans(1000.0)
    assert [tuple(span) for span in spans if span.size] == [(FEEDBACK, 1, 3)]
    assert Partition(FEEDBACK.topic, 5) in [span.at for span in spans]


@pytest.mark.parametrize(
    ("scores", "unrated", "why"),
    [
        ([1.0], False, None),
        ([1.0, 0.0], False, None),
        ([1.0, -1.0], False, Skip.LOW),
        ([-1.0], True, Skip.LOW),
        ([], False, Skip.UNRATED),
        ([], True, None),
    ],
)
def test_an_example_is_what_was_said_to_be_good(scores: list[float], unrated: bool, why: Skip | None) -> None:
    opinion = Opinion(score_sum=sum(scores), count=len(scores))
    assert verdict(opinion, min_score=0.5, unrated=unrated) is why


async def test_a_correction_wins_over_what_else_was_said() -> None:
    log = MemoryLog()
    rate(log, "a", "thumbs_down")
    rate(log, "a", "correction", original="x", corrected="y")
    opinion = (await opinions_of(log)).of("default", "a")
    assert verdict(opinion, min_score=1, unrated=False) is None
