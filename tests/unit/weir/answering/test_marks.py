"""The marks of one worker for one request."""

from tests.unit.weir.answering.helpers import REQUEST
from weir.answering.continuing import ContinuationPlan
from weir.answering.marks import Marks, encode_mark
from weir.chat import frames
from weir.chat.fold import Answer
from weir.chat.frames import FrameKind


def test_an_attempt_is_used_once_by_the_worker_that_marked_it() -> None:
    marks, plan = Marks(), ContinuationPlan(FrameKind.BEGIN, REQUEST.body)
    marks.add("mine", plan)
    assert marks.use(Answer(rid="r", attempt="theirs")) is None
    attempt = marks.use(Answer(rid="r", attempt="mine"))
    assert attempt is not None
    assert (attempt.id, attempt.does) == ("mine", plan)
    assert marks.use(Answer(rid="r", attempt="mine")) is None
    assert marks.used == {"mine"}


def test_a_mark_says_what_its_writer_knew() -> None:
    mark = frames.decode(encode_mark(REQUEST, Answer(rid="r", last=41), "att-1", FrameKind.TAKEOVER))
    assert (mark.uid, mark.rid, mark.kind, mark.attempt) == (REQUEST.uid, "r", FrameKind.TAKEOVER, "att-1")
    assert (mark.after, mark.fingerprint) == (41, REQUEST.fingerprint)
