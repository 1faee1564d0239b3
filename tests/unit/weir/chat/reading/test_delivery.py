"""The additions of each record of an answer for a reader."""

from tests.unit.weir.chat.helpers import DONE, RID, beat, begin, ends, restart, says
from tests.unit.weir.chat.reading.helpers import AT, said
from weir.chat import frames
from weir.chat.fold import Answer
from weir.chat.frames import Frame
from weir.chat.reading.delivery import Delivery, news_of
from weir.log.log import Record


def news(*log: Frame, taken_back: int = -1) -> tuple[Answer, list[Delivery]]:
    values = [frames.encode(one, event_id="e", tenant="t") for one in log]
    records = [Record(*AT, offset, 0.0, b"k", value, ()) for offset, value in enumerate(values)]
    answer, found = news_of(Answer(rid=RID), records, AT.partition, taken_back)
    return answer, list(found)


def test_only_what_counts_and_says_something_is_news() -> None:
    answer, found = news(
        begin("a"), says("a", 0, "x"), beat("a"), says("zombie", 1, "no"), says("a", 1, "y"), ends("a")
    )
    assert [(one.offset, said([one]), one.more) for one in found] == [(1, "x", True), (4, "y", True), (5, "", False)]
    assert (answer.terminal, found[-1].terminal) == (DONE, DONE)


def test_what_a_restart_takes_back_is_no_news() -> None:
    log = begin("a"), says("a", 0, "x"), restart("b", after=1), says("b", 0, "B")
    assert [(one.offset, one.restarted) for one in news(*log)[1]] == [(2, True), (3, False)]
    answer, found = news(*log[:2], taken_back=2)  # its mark has not been read yet
    assert (answer.next_seq, found) == (1, [])


def test_news_end_before_a_gap() -> None:
    answer, found = news(begin("a"), says("a", 0, "x"), says("a", 2, "z"), ends("a"))
    assert (answer.gap, said(found)) == (True, "x")
