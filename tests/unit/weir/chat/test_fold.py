"""The rules of DESIGN section 5, one log for each."""

from dataclasses import dataclass

import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, beat, begin, chunk, ends, frame, read_all, restart, says, text_of
from weir.chat.fold import Answer, fold
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal


@dataclass(frozen=True, kw_only=True)
class Case:
    """A log, and the answer that every reader must fold from it."""

    log: list[Frame]
    said: str = ""
    attempt: str = "a"
    counted: list[int]  # offsets
    restarts: int = 0
    gap: bool = False
    terminal: Terminal | None = None


CASES = {
    "an answer from its begin to its end": Case(
        log=[begin("a"), says("a", 0, "x"), says("a", 1, "y", "z"), ends("a")],
        said="xyz",
        counted=[0, 1, 2, 3],
        terminal=DONE,
    ),
    "of two begins that knew the same, the first wins": Case(
        log=[begin("a"), begin("b"), says("b", 0, "B"), says("a", 0, "x")],
        said="x",
        counted=[0, 3],
    ),
    "a begin that knew of a record which never came is void": Case(log=[begin("a", after=7)], attempt="", counted=[]),
    "a restart that knew the last counting record wins": Case(
        log=[begin("a"), says("a", 0, "x"), restart("b", after=1), says("b", 0, "B")],
        said="B",
        attempt="b",
        counted=[0, 1, 2, 3],
        restarts=1,
    ),
    "a restart is void if the attempt spoke in between": Case(
        log=[begin("a"), restart("b", after=-1), says("a", 0, "x"), restart("b", after=0), says("b", 0, "B")],
        said="x",
        counted=[0, 2],
    ),
    "a restart is void if the attempt only beat in between": Case(
        log=[begin("a"), beat("a"), restart("b", after=0), says("a", 0, "x")],
        said="x",
        counted=[0, 1, 3],
    ),
    "records that do not count do not make a mark void": Case(
        log=[begin("a"), says("zombie", 0, "Z"), beat("zombie"), begin("c"), restart("b", after=0)],
        attempt="b",
        counted=[0, 4],
        restarts=1,
    ),
    "a void mark does not end the attempt before it": Case(
        log=[begin("a"), says("a", 0, "x"), restart("b", after=0), says("a", 1, "y"), ends("a")],
        said="xy",
        counted=[0, 1, 3, 4],
        terminal=DONE,
    ),
    "the frames of a void mark's attempt are ignored": Case(
        log=[begin("a"), restart("b", after=9), says("b", 0, "B"), beat("b"), ends("b")], counted=[0]
    ),
    "frames of an older attempt are ignored after a restart": Case(
        log=[begin("a"), says("a", 0, "x"), restart("b", after=1), says("a", 1, "y"), says("a", 0, "x"), ends("a")],
        attempt="b",
        counted=[0, 1, 2],
        restarts=1,
    ),
    "an attempt that lost its place gets it back by a mark of its own only": Case(
        log=[
            begin("a"),
            restart("b", after=0),
            says("a", 0, "x"),
            restart("a2", after=1),
            says("a2", 0, "2"),
        ],
        said="2",
        attempt="a2",
        counted=[0, 1, 3, 4],
        restarts=2,
    ),
    "frames before any mark are ignored": Case(
        log=[says("a", 0, "x"), says("", 0, "x"), beat(""), ends(""), begin("a"), says("a", 0, "y")],
        said="y",
        counted=[4, 5],
    ),
    "a frame that is repeated is said once": Case(
        log=[begin("a"), says("a", 0, "x", "y"), says("a", 0, "x", "y"), says("a", 2, "z")],
        said="xyz",
        counted=[0, 1, 2, 3],
    ),
    "a frame that is known in part gives its new part": Case(
        log=[begin("a"), says("a", 0, "x", "y"), says("a", 1, "y", "z", "!")],
        said="xyz!",
        counted=[0, 1, 2],
    ),
    "a frame above the expected number is a gap and says nothing": Case(
        log=[begin("a"), says("a", 0, "x"), says("a", 2, "z")],
        said="x",
        counted=[0, 1, 2],
        gap=True,
    ),
    "a gap stays flagged, whatever is said later": Case(
        log=[begin("a"), says("a", 1, "y"), says("a", 0, "x"), ends("a")],
        said="x",
        counted=[0, 1, 2, 3],
        gap=True,
        terminal=DONE,
    ),
    "the first terminal that counts is final": Case(
        log=[begin("a"), ends("a"), ends("a", FAILED), says("a", 0, "x"), restart("b", after=1)],
        counted=[0, 1],
        terminal=DONE,
    ),
    "a terminal of another attempt does not end the request": Case(
        log=[begin("a"), restart("b", after=0), ends("a", FAILED), ends("b")],
        attempt="b",
        counted=[0, 1, 3],
        restarts=1,
        terminal=DONE,
    ),
    "marks for later submissions change nothing": Case(
        log=[
            frame(FrameKind.ATTACH, submission="evt-2", first=0),
            begin("a"),
            frame(FrameKind.ATTACH, submission="evt-2", first=1),
            frame(FrameKind.CONFLICT, submission="evt-3", first=1),
            restart("b", after=1),
        ],
        attempt="b",
        counted=[1, 4],
        restarts=1,
    ),
    "a later begin goes on where the answer stands": Case(
        log=[begin("a"), says("a", 0, "x"), begin("b", after=1), says("b", 1, "B")],
        said="xB",
        attempt="b",
        counted=[0, 1, 2, 3],
    ),
    "a restart begins to count at nought again": Case(
        log=[begin("a"), says("a", 0, "x", "y"), restart("b", after=1), says("b", 2, "!")],
        said="",
        attempt="b",
        counted=[0, 1, 2, 3],
        restarts=1,
        gap=True,
    ),
    "an empty frame is a sign of life": Case(
        log=[begin("a"), says("a", 0), says("a", 0, "x")], said="x", counted=[0, 1, 2]
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_rule_holds(case: Case) -> None:
    reader = read_all(case.log)
    assert "".join(reader.said) == case.said
    assert reader.counted == case.counted
    assert reader.answer.attempt == case.attempt
    assert reader.answer.restarts == case.restarts
    assert reader.answer.gap is case.gap
    assert reader.answer.terminal == case.terminal
    assert reader.answer.last == (case.counted[-1] if case.counted else -1)


@pytest.mark.parametrize("kind", list(FrameKind))
def test_frames_of_another_request_under_the_same_uid_change_nothing(kind: FrameKind) -> None:
    known = Answer(rid="evt-1", attempt="a", attempts=1, first=0, last=3, next_seq=2)
    other = frame(kind, "a", rid="evt-0", after=3, seq=2, chunks=[chunk("no")], terminal=DONE)
    folded = fold(known, 4, other)
    assert folded.answer == known
    assert not folded.counts
    assert not folded.chunks


def test_the_place_of_new_chunks_in_their_frame_is_told() -> None:
    """A door makes the event's id from it: partition, offset, place in the frame."""
    reader = read_all([begin("a"), says("a", 0, "x", "y")])
    folded = reader.read(2, says("a", 1, "y", "z", "!"))
    assert (folded.first_seq, folded.skipped, text_of(folded.chunks)) == (2, 1, ["z", "!"])
    known = reader.read(3, says("a", 0, "x", "y"))
    assert (known.counts, known.skipped, known.chunks) == (True, 2, [])


def test_the_first_mark_is_remembered_and_marks_are_counted() -> None:
    answer = read_all([beat("a"), begin("a"), begin("b"), restart("c", after=1), restart("d", after=3)]).answer
    assert (answer.first, answer.attempts, answer.restarts, answer.last) == (1, 3, 2, 4)


def test_why_each_choice_ended_is_known_until_the_answer_is_said_again() -> None:
    log = [begin("a"), frame(FrameKind.CHUNKS, "a", chunks=[chunk("x"), chunk(None, "stop"), chunk(None, "length", 1)])]
    assert read_all(log).answer.finish_reasons == {0: "stop", 1: "length"}
    assert read_all([*log, restart("b", after=1)]).answer.finish_reasons == {}
    assert read_all([*log, begin("b", after=1)]).answer.finish_reasons == {0: "stop", 1: "length"}


def test_a_terminal_is_kept_as_it_was_written() -> None:
    told = Terminal(
        status=Status.FAILED, finish_reason=None, usage={"total_tokens": 3}, error={"status": 503}, timings={"ms": 1}
    )
    assert read_all([begin("a"), ends("a", told)]).answer.terminal == told


def test_fold_leaves_what_it_was_given_as_it_was() -> None:
    before = read_all([begin("a"), frame(FrameKind.CHUNKS, "a", chunks=[chunk("x", "stop")])]).answer
    copy = before._replace(finish_reasons=dict(before.finish_reasons))
    for next_ in (says("a", 1, "y"), frame(FrameKind.CHUNKS, "a", seq=1, chunks=[chunk("y", "length")])):
        fold(before, 2, next_)
        fold(before, 2, restart("b", after=1))
        fold(before, 2, ends("a"))
    assert before == copy


def test_a_terminal_after_chunks_that_never_arrived_is_a_gap() -> None:
    reader = read_all([begin("a"), says("a", 0, "x"), frame(FrameKind.TERMINAL, "a", seq=3, terminal=DONE)])
    assert reader.answer.gap


# -- the end by an attempt that does not count, and the end of a request that its client has given up


CANCELLED = Terminal(status=Status.CANCELLED)


def test_after_a_handoff_nothing_of_the_attempt_counts() -> None:
    reader = read_all(
        [begin("a"), says("a", 0, "x"), frame(FrameKind.HANDOFF, "a", seq=1), says("a", 1, "y"), beat("a"), ends("a")]
    )
    assert (reader.said, reader.counted, reader.answer.closed, reader.answer.terminal) == (["x"], [0, 1, 2], True, None)


def test_a_mark_after_a_handoff_opens_the_answer_again() -> None:
    reader = read_all(
        [
            begin("a"),
            says("a", 0, "x"),
            frame(FrameKind.HANDOFF, "a"),
            frame(FrameKind.TAKEOVER, "b", after=2),
            says("b", 1, "y"),
        ]
    )
    assert (reader.said, reader.answer.closed, reader.answer.attempt) == (["x", "y"], False, "b")


@pytest.mark.parametrize("attempt", ["b", ""])
def test_only_its_own_worker_can_hand_an_attempt_off(attempt: str) -> None:
    assert not read_all([begin("a"), frame(FrameKind.HANDOFF, attempt)]).answer.closed


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED])
@pytest.mark.parametrize("before", [[], [begin("a")], [begin("a"), says("a", 0, "x"), frame(FrameKind.HANDOFF, "a")]])
def test_any_writer_can_cancel_a_request_and_no_frame_counts_after_it(before: list[Frame], status: Status) -> None:
    terminal = Terminal(status=status)
    end = frame(FrameKind.TERMINAL, terminal=terminal)
    reader = read_all([*before, end, frame(FrameKind.TAKEOVER, "b", after=len(before)), says("a", 1, "y"), ends("a")])
    assert reader.answer.terminal == terminal
    assert reader.counted == list(range(len(before) + 1))
    assert reader.answer.first == 0


@pytest.mark.parametrize("before", [[], [begin("a"), says("a", 0, "x")]])
def test_a_writer_that_does_not_know_the_first_submission_can_cancel_the_request(before: list[Frame]) -> None:
    end = frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=CANCELLED)
    assert read_all([*before, end, says("a", 1, "y")]).counted == list(range(len(before) + 1))


@pytest.mark.parametrize("attempt", ["a", ""])
@pytest.mark.parametrize("kind", [kind for kind in FrameKind if kind is not FrameKind.TERMINAL])
def test_nothing_else_is_said_without_a_name(kind: FrameKind, attempt: str) -> None:
    other = frame(kind, attempt, rid=ANYBODY, after=0, chunks=[chunk("no")])
    assert read_all([begin("a"), other]).counted == [0]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_how_an_answer_ended_is_said_by_its_attempt_only(status: Status) -> None:
    assert read_all([begin("a"), frame(FrameKind.TERMINAL, terminal=Terminal(status=status))]).answer.terminal is None


def test_a_cancellation_comes_too_late_after_a_terminal() -> None:
    assert read_all([begin("a"), ends("a"), frame(FrameKind.TERMINAL, terminal=CANCELLED)]).answer.terminal == DONE
