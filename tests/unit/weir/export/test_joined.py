"""Requests find their answers in one pass that holds no more than its window."""

import random
from typing import Any

import pytest

from tests.defaults import SETTINGS
from tests.unit.weir.chat.helpers import begin, ends, frame, restart, says
from tests.unit.weir.export.helpers import CHUNKS, ask, counted, say, whole
from tests.unit.weir.log.memory_log import MemoryLog
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal
from weir.chat.requests import ChatRequest
from weir.export import joined as module
from weir.export.joined import Joined, Joining
from weir.export.submissions import Submissions
from weir.export.tally import Tally
from weir.export.where import Where
from weir.log.log import Partition, Record
from weir.ranges.progress import UNSEEN


class Watched(MemoryLog):
    """Notes what was read of chat-chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        found = await super().read(at, position, limit=limit)
        if at == CHUNKS:
            self.seen += [record.offset for record in found]
        return found


async def joined(log: MemoryLog, **limits: Any) -> list[Joined]:
    requests = Submissions(log, Where(), Tally(), UNSEEN, settings=SETTINGS).of(whole(log))
    return await counted(Joining(log, 0, requests, **limits).all())


def text_of(one: Joined) -> str | None:
    choices = one.said.result()["choices"]
    return choices[0]["message"]["content"] if choices else None


def end_of(one: Joined) -> Status | None:
    return None if one.answer.terminal is None else one.answer.terminal.status


async def test_answers_that_are_mixed_in_the_log_are_told_apart() -> None:
    log = Watched()
    for uid in ("a", "b"):
        ask(log, uid)
    say(log, "a", begin("x"))
    say(log, "b", begin("y", after=-1))
    say(log, "a", says("x", 0, "A"))
    say(log, "b", says("y", 0, "B"), ends("y"))
    say(log, "c", says("z", 0, "without a request"))
    say(log, "a", says("x", 1, "a"), ends("x"))
    log.put(CHUNKS, b"a", b"no frame")
    log.put(CHUNKS, None, None)
    assert [(one.request.uid, text_of(one), end_of(one)) for one in await joined(log)] == [
        ("b", "B", Status.COMPLETED),
        ("a", "Aa", Status.COMPLETED),
    ]


async def test_only_what_counts_is_in_an_answer() -> None:
    log = MemoryLog()
    ask(log, "a")
    say(log, "a", begin("x"), says("x", 0, "no"), begin("z"), says("z", 0, "never"))
    say(log, "a", restart("y", after=1), says("y", 0, "yes"), ends("y"))
    (one,) = await joined(log)
    assert text_of(one) == "yes"


async def test_an_answer_without_an_end_comes_last() -> None:
    log = MemoryLog()
    ask(log, "a")
    ask(log, "b")
    say(log, "a", begin("x"), says("x", 0, "half"))
    say(log, "b", frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED)))
    assert [(one.request.uid, end_of(one)) for one in await joined(log)] == [("b", Status.CANCELLED), ("a", None)]


async def test_a_gap_ends_it() -> None:
    log = MemoryLog()
    ask(log, "a")
    say(log, "a", begin("x"), says("x", 5, "far"))
    (one,) = await joined(log)
    assert one.answer.gap


@pytest.mark.parametrize("kind", [FrameKind.ATTACH, FrameKind.CONFLICT])
async def test_a_submission_whose_answer_is_anothers_is_known_by_its_mark(kind: FrameKind) -> None:
    log = MemoryLog()
    say(log, "a", Frame(uid="a", rid="evt-first", kind=FrameKind.BEGIN, attempt="x"))
    ask(log, "a", event_id="evt-second")
    say(log, "a", Frame(uid="a", rid="evt-first", kind=kind, submission="evt-second", first=0))
    (one,) = await joined(log)
    assert (one.repeated, text_of(one)) == (True, None)


def many(log: MemoryLog, count: int, *, never: int = 0, seed: int = 3) -> None:
    """Requests whose answers overlap by about ten; each ``never``-th has no end."""
    rng = random.Random(seed)
    running: list[tuple[str, list[Frame]]] = []
    for number in range(count):
        uid = f"u{number}"
        ask(log, uid)
        end = [] if never and number % never == 0 else [ends("x")]
        running.append((uid, [begin("x"), *(says("x", seq, f"{seq}") for seq in range(4)), *end]))
        while len(running) > 10 or (running and number == count - 1):
            at = rng.randrange(len(running))
            uid, rest = running[at]
            # a mark tells what its writer had seen; nothing of this answer was written before
            say(log, uid, rest.pop(0))
            if not rest:
                running.pop(at)


async def test_the_chunks_of_many_requests_are_read_once() -> None:
    log = Watched()
    many(log, 3000)
    found = await joined(log, window_requests=500)
    assert sorted(one.request.uid for one in found) == sorted(f"u{number}" for number in range(3000))
    assert {(text_of(one), end_of(one)) for one in found} == {("0123", Status.COMPLETED)}
    assert len(log.seen) == len(set(log.seen)) == len(log.records[CHUNKS])


async def test_requests_that_never_end_cost_a_pass_for_each_window_that_they_fill() -> None:
    log = Watched()
    many(log, 1000, never=10)
    found = await joined(log, window_requests=50)
    assert len(found) == len({one.request.uid for one in found}) == 1000
    assert sum(end_of(one) is None for one in found) == 100
    assert len(log.seen) < 4 * len(log.records[CHUNKS])


async def test_large_requests_are_held_only_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    enter = Joining._enter

    def watching(self: Joining, one: Any) -> None:
        enter(self, one)
        held.append(len(self._open))

    monkeypatch.setattr(Joining, "_enter", watching)
    log = MemoryLog()
    many(log, 200)
    assert len(await joined(log, window_bytes=5000)) == 200
    assert max(held) < 25


async def test_records_of_no_open_request_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    log = Watched()
    for uid in ("a", "b"):
        ask(log, uid)
        say(log, uid, begin("x"), says("x", 0, uid), ends("x"))
        say(log, "others", *(says("x", seq, "no") for seq in range(1000)))
    assert [text_of(one) for one in await joined(log)] == ["a", "b"]
    assert len(log.seen) <= 20


async def test_a_request_that_began_behind_the_pass_gets_a_pass_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    log = MemoryLog()
    say(log, "late", begin("x"))
    for number in range(4):
        ask(log, f"u{number}")
        say(log, f"u{number}", begin("x"), says("x", 0, "u"), ends("x"))
    ask(log, "late", chunks_from=-1)
    say(log, "late", says("x", 0, "late"), ends("x"))
    ask(log, "after")
    say(log, "after", begin("x"), says("x", 0, "after"), ends("x"))
    found = await joined(log, window_requests=2)
    assert {one.request.uid: text_of(one) for one in found} == {
        **{f"u{number}": "u" for number in range(4)},
        "late": "late",
        "after": "after",
    }


@pytest.mark.parametrize("chunks_from", [0, -(2**62)])
async def test_a_request_that_does_not_say_where_its_answer_begins_is_found_by_the_clock(chunks_from: int) -> None:
    log = Watched()
    for _ in range(100):
        say(log, "old", says("x", 0, "old"))
    log.now = 10_000.0
    ask(log, "a", chunks_from=chunks_from)
    say(log, "a", begin("x"), says("x", 0, "A"), ends("x"))
    assert [text_of(one) for one in await joined(log)] == ["A"]
    assert min(log.seen) == 100


async def test_lives_of_a_uid_are_told_apart_though_all_are_waited_for() -> None:
    log = MemoryLog()
    ask(log, "a")
    say(log, "a", begin("x"), says("x", 0, "lost"))
    ask(log, "a", event_id="evt-a2", redriven=({},))
    say(log, "a", begin("y"), says("y", 0, "found"), life="2")
    ask(log, "b")
    say(log, "b", begin("z"), says("z", 0, "B"), ends("z"))
    say(log, "a", ends("y"), life="2")
    requests = Submissions(log, Where(), Tally(), UNSEEN, settings=SETTINGS, redriven=True).of(whole(log))
    found = await counted(Joining(log, 0, requests).all())
    assert [(one.request.event_id, text_of(one), end_of(one)) for one in found] == [
        ("evt-b", "B", Status.COMPLETED),
        ("evt-a2", "found", Status.COMPLETED),
        ("evt-a", "lost", None),
    ]


async def test_an_end_without_a_rid_ends_all_submissions_of_its_uid() -> None:
    log = MemoryLog()
    ask(log, "a")
    ask(log, "a", event_id="evt-a2", redriven=({},))
    say(log, "a", frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED)))
    requests = Submissions(log, Where(), Tally(), UNSEEN, settings=SETTINGS, redriven=True).of(whole(log))
    found = await counted(Joining(log, 0, requests).all())
    assert [(one.request.event_id, end_of(one)) for one in found] == [
        ("evt-a", Status.CANCELLED),
        ("evt-a2", Status.CANCELLED),
    ]


async def test_nothing_is_asked_where_there_are_no_requests() -> None:
    async def none() -> Any:
        for one in list[tuple[Record, ChatRequest]]():
            yield one

    assert await counted(Joining(MemoryLog(), 0, none()).all()) == []
