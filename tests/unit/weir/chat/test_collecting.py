"""Answers with their content, of one request and of many in one pass: each as a reader of it alone has it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.chat.helpers import (
    DONE,
    FAILED,
    RID,
    UID,
    Reader,
    begin,
    chunk,
    ends,
    frame,
    restart,
    says,
    takeover,
    text_of,
)
from weir.chat import frames
from weir.chat.collecting import Awaited, Awaiting, Chunks, Collected
from weir.chat.completion import Completion
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal
from weir.chat.notes import Notes
from weir.chat.requests import ChatRequest, fingerprint
from weir.events.ingress import Ingress
from weir.log.log import Record

CANCELLED = frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED))


def request_of(uid: str = UID, event_id: str = RID) -> ChatRequest:
    body: dict[str, Any] = {"model": "m", "messages": []}
    return ChatRequest(
        uid=uid,
        event_id=event_id,
        tenant="acme",
        ingress=Ingress.HTTP,
        accepted_at="2026-01-31T12:00:00Z",
        body=body,
        fingerprint=fingerprint(body),
        stream=True,
        chunks_from=0,
    )


def record_of(offset: int, one: Frame | bytes | None, *, key: bytes | None = None) -> Record:
    value = frames.encode(one, event_id="e", tenant="t") if isinstance(one, Frame) else one
    key = one.uid.encode() if key is None and isinstance(one, Frame) else key
    return Record("chat-chunks", 0, offset, 100.0 + offset, key, value, ())


# -- one answer


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([], []),
        ([begin("a"), says("a", 0, "x", "y"), ends("a")], ["x", "y"]),
        ([begin("a"), says("a", 0, "x"), takeover("b", after=1), says("b", 1, "y")], ["x", "y"]),
        ([begin("a"), says("a", 0, "x"), restart("b", after=1), says("b", 0, "y")], ["y"]),
        ([begin("a"), says("a", 0, "x"), restart("b", after=0), says("b", 0, "y")], ["x"]),  # it does not count
        ([begin("a"), says("a", 0, "x"), restart("b", after=1), restart("c", after=2)], []),
        ([begin("a"), says("a", 0, "x", "y"), says("a", 1, "y", "z")], ["x", "y", "z"]),  # said twice
        ([begin("a"), says("a", 0, "x"), says("a", 7, "far")], ["x"]),
    ],
)
def test_what_counts_of_an_answer_is_collected_and_what_is_taken_back_is_dropped(
    log: Sequence[Frame], said: list[str]
) -> None:
    chunks, notes, completion = Collected(RID, Chunks), Collected(RID, Notes), Collected(RID, lambda: Completion(UID))
    reader = Reader()
    for offset, one in enumerate(log):
        folded = reader.read(offset, one)
        assert chunks.take(offset, one) == notes.take(offset, one) == completion.take(offset, one) == folded
    assert chunks.answer == notes.answer == completion.answer == reader.answer
    assert text_of(chunks.said) == reader.said == said
    assert "".join(passage.text for passage in notes.said.passages) == "".join(said)
    choices = completion.said.result()["choices"]
    assert [choice["message"]["content"] for choice in choices] == (["".join(said)] if said else [])


# -- many


def over(awaiting: Awaiting[Chunks], *log: Frame | bytes | None) -> list[Awaited[Chunks]]:
    """Return the answers that records end; each record's place is its offset."""
    return [one for offset, given in enumerate(log) for one in awaiting.take(record_of(offset, given, key=b"req-1"))]


def awaiting_one(start: int = 0) -> Awaiting[Chunks]:
    awaiting = Awaiting(lambda _: Chunks())
    awaiting.watch(request_of(), start)
    return awaiting


@pytest.mark.parametrize(
    ("log", "status", "said"),
    [
        ([begin("a"), says("a", 0, "x"), ends("a")], Status.COMPLETED, ["x"]),
        ([begin("a"), ends("a", FAILED)], Status.FAILED, []),
        ([CANCELLED], Status.CANCELLED, []),
        ([begin("a"), b"no frame", None, says("a", 0, "x"), CANCELLED], Status.CANCELLED, ["x"]),
        ([begin("a"), says("a", 5, "far"), ends("a")], Status.COMPLETED, []),
        ([frame(FrameKind.ATTACH, rid="evt-0", submission=RID, first=0)], None, []),
        ([frame(FrameKind.CONFLICT, rid="evt-0", submission=RID)], None, []),
    ],
)
def test_a_submission_leaves_with_its_end(
    log: list[Frame | bytes | None], status: Status | None, said: list[str]
) -> None:
    awaiting = awaiting_one()
    (one,) = over(awaiting, *log)
    assert (one.over, one.repeated) == (True, status is None)
    assert (one.answer.terminal and one.answer.terminal.status) == status
    assert text_of(one.said) == said
    assert one.ended_at == 100.0 + len(log) - 1
    assert (len(awaiting), list(awaiting)) == (0, [])
    assert over(awaiting, *log) == []  # no submission waits any more


@pytest.mark.parametrize(
    "log",
    [
        [],
        [begin("a"), says("a", 0, "x")],
        [replace(ends("a"), rid="evt-2")],  # of another submission
        [frame(FrameKind.ATTACH, rid=RID, submission="evt-2", first=0)],  # another one has our answer
        [frame(FrameKind.CONFLICT, rid=RID, submission="evt-2")],
        [begin("a"), says("a", 9, "far")],
    ],
)
def test_a_submission_without_an_end_stays_with_what_was_said(log: list[Frame]) -> None:
    awaiting = awaiting_one()
    assert over(awaiting, *log) == []
    (one,) = awaiting
    assert (len(awaiting), one.over, one.ended_at) == (1, False, 0.0)
    reader = Reader()
    for offset, given in enumerate(log):
        reader.read(offset, given)
    assert (one.answer, text_of(one.said)) == (reader.answer, reader.said)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (2, 1), (3, 0)])
def test_records_below_the_start_of_an_answer_are_not_about_it(start: int, count: int) -> None:
    assert len(over(awaiting_one(start), CANCELLED, b"no frame", CANCELLED)) == count


@pytest.mark.parametrize("key", [None, b"", b"req-2", b"\xff"])
def test_records_of_other_requests_end_nothing(key: bytes | None) -> None:
    awaiting = awaiting_one()
    assert awaiting.take(record_of(0, frames.encode(CANCELLED, event_id="e", tenant="t"), key=key)) == []
    assert len(awaiting) == 1


def test_submissions_of_a_uid_are_told_apart_and_an_end_that_anybody_may_write_is_that_of_all() -> None:
    awaiting = Awaiting(lambda _: Chunks())
    first, second, third = (awaiting.watch(request_of(event_id=f"evt-{n}"), 0) for n in (1, 2, 3))
    assert awaiting.of(b"req-1") == [first, second, third]
    log = [
        replace(begin("a"), rid="evt-2"),
        replace(says("a", 0, "second"), rid="evt-2"),
        replace(ends("a"), rid="evt-2"),
    ]
    assert over(awaiting, *log) == [second]
    assert text_of(second.said) == ["second"]
    assert awaiting.take(record_of(3, CANCELLED)) == [first, third]
    assert len(awaiting) == 0


def test_a_submission_can_be_forgotten_once() -> None:
    awaiting = Awaiting(lambda _: Chunks())
    one, other = awaiting.watch(request_of(), 0), awaiting.watch(request_of("req-2", "evt-2"), 0)
    for _ in range(2):
        awaiting.forget(one)
        assert list(awaiting) == [other]
        assert len(awaiting) == 1
    again = awaiting.watch(request_of(), 0)
    awaiting.forget(one)  # it is not the one that waits
    assert awaiting.of(b"req-1") == [again]


def test_a_submission_that_is_watched_again_waits_once_and_from_its_beginning() -> None:
    awaiting = awaiting_one()
    over(awaiting, begin("a"), says("a", 0, "x"))
    again = awaiting.watch(request_of(), 0)
    assert (len(awaiting), list(awaiting), again.said) == (1, [again], [])


@pytest.mark.parametrize("seed", range(20))
def test_many_answers_that_are_mixed_in_the_log_are_what_a_reader_of_each_has(seed: int) -> None:
    dice = random.Random(seed)
    scripts = {f"u{number}": _script(dice) for number in range(12)}
    left = {uid: list(script) for uid, script in scripts.items()}
    awaiting = Awaiting(lambda _: Chunks())
    for uid in scripts:
        awaiting.watch(request_of(uid, f"evt-{uid}"), 0)
    readers = {uid: Reader(f"evt-{uid}") for uid in scripts}
    ended: list[Awaited[Chunks]] = []
    last = dict.fromkeys(scripts, -1)
    offset = 0
    while any(left.values()):
        uid = dice.choice([name for name, rest in left.items() if rest])
        one = replace(left[uid].pop(0), uid=uid, rid=f"evt-{uid}")
        if one.kind in frames.CLAIMS and dice.random() < 0.9:
            one = replace(one, after=last[uid])
        folded = readers[uid].read(offset, one)
        last[uid] = offset if folded.counts else last[uid]
        ended += awaiting.take(record_of(offset, one))
        offset += 1
    found = {one.request.uid: one for one in [*ended, *awaiting]}
    assert found.keys() == scripts.keys()
    for uid, reader in readers.items():
        assert found[uid].over == (reader.answer.terminal is not None)
        assert (found[uid].answer, text_of(found[uid].said)) == (reader.answer, reader.said)
    assert len(awaiting) == sum(reader.answer.terminal is None for reader in readers.values())


def _script(dice: random.Random) -> list[Frame]:
    found, seq, attempt = [begin("a")], 0, "a"
    for step in range(dice.randrange(12)):
        if dice.random() < 0.2:
            attempt = f"{attempt}{step}"
            anew = dice.random() < 0.5
            found.append(restart(attempt, after=-9) if anew else takeover(attempt, after=-9))
            seq = 0 if anew else seq
        else:
            found.append(frame(FrameKind.CHUNKS, attempt, seq=seq, chunks=[chunk(f"{seq},")]))
            seq += 1
    return [*found, ends(attempt, dice.choice([DONE, FAILED]))] if dice.random() < 0.8 else found
