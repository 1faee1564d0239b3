"""Workers that crash, pause, repeat themselves and write late, on one log: every reader must get the same answer.

Each worker acts as ``weir.answering.answering`` does: it looks (as far as it has read), marks, reads back, and speaks.
What the real ones do by accident happens here by dice: a worker does not know that it was replaced, a produce fails and
its record lands later or never, a frame is sent twice, a lease runs out while its holder lives.

Each LLM call says other words, so a token names the call that said it and its place in the answer. A call that goes on
with what was said before remembers it as its prompt: in no answer may its words follow anything else.
"""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tests.unit.weir.chat.helpers import (
    FAILED,
    RID,
    Reader,
    beat,
    begin,
    ends,
    frame,
    read_all,
    restart,
    says,
    takeover,
)
from weir.chat.fold import Answer, fold
from weir.chat.frames import CLAIMS, Frame, FrameKind, Status, Terminal

SEEDS = range(200)
STEPS = 120
WORDS = 8  # of a whole answer
CANCELLED = Terminal(status=Status.CANCELLED)


@dataclass
class Worker:
    """A worker that decides by what it has read so far, which may be old."""

    view: Answer = field(default_factory=lambda: Answer(rid=RID))
    read: int = 0  # offset up to which it has read
    attempt: str = ""  # that it speaks for, or whose mark it waits to read
    mark_at: int = -1
    speaking: bool = False
    said: int = 0


@dataclass
class World:
    """The log, and records that are on their way."""

    dice: random.Random
    log: list[Frame] = field(default_factory=list)
    late: list[Frame] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=lambda: [Worker() for _ in range(3)])
    marks: int = 0
    calls: int = 0
    prompts: dict[str, list[str]] = field(default_factory=dict)  # what each attempt was asked to go on with

    def step(self) -> None:
        if self.dice.random() < 0.002:
            self.log.append(frame(FrameKind.TERMINAL, terminal=CANCELLED))  # a client does not want the answer any more
        if self.late and self.dice.random() < 0.2:
            self.log.append(self.late.pop(self.dice.randrange(len(self.late))))
        worker = self.dice.choice(self.workers)
        self.look(worker)
        if worker.speaking:
            self.speak(worker)
        elif worker.attempt:
            self.read_back(worker)
        elif worker.view.terminal is None and (not worker.view.attempt or self.dice.random() < 0.3):
            self.mark(worker)

    def look(self, worker: Worker) -> None:
        """Read on, as far as the dice decide: a worker that was paused decides on old knowledge."""
        if worker.mark_at >= 0 or self.dice.random() < 0.6:
            until = self.dice.randint(worker.read, len(self.log))
            for offset in range(worker.read, until):
                worker.view = fold(worker.view, offset, self.log[offset]).answer
            worker.read = until

    def mark(self, worker: Worker) -> None:
        self.marks += 1
        attempt = f"att-{self.marks}"
        make = self.dice.choice([restart, takeover]) if worker.view.attempts else begin
        worker.attempt = attempt
        if self.send(worker, make(attempt, after=worker.view.last)):
            worker.mark_at = len(self.log) - 1

    def read_back(self, worker: Worker) -> None:
        if worker.read <= worker.mark_at:
            return
        counts = worker.view.attempt == worker.attempt and worker.view.terminal is None
        worker.mark_at = -1
        if not counts:
            worker.attempt = ""
            return
        self.calls += 1
        worker.speaking, worker.said = True, worker.view.next_seq
        self.prompts[worker.attempt] = read_all(self.log[: worker.read]).said

    def speak(self, worker: Worker) -> None:
        """Send the next frame; at times a repetition, at times a heartbeat. The worker does not look around."""
        if self.dice.random() < 0.05:
            worker.speaking, worker.attempt = False, ""  # a crash
            return
        if self.dice.random() < 0.03:
            self.send(worker, frame(FrameKind.HANDOFF, worker.attempt))  # a stop, after which it may go on all the same
            worker.speaking, worker.attempt = False, ""
        elif self.dice.random() < 0.15:
            self.send(worker, beat(worker.attempt))
        elif worker.said >= WORDS:
            done = self.send(worker, ends(worker.attempt) if self.dice.random() < 0.8 else ends(worker.attempt, FAILED))
            worker.speaking, worker.attempt = worker.speaking and not done, "" if done else worker.attempt
        else:
            start = self.dice.randint(0, worker.said) if self.dice.random() < 0.25 else worker.said
            stop = min(WORDS, max(worker.said, start + self.dice.randint(0, 3)))
            words = [f"{worker.attempt}/{n}" for n in range(start, stop)]
            if self.send(worker, says(worker.attempt, start, *words)):
                worker.said = max(worker.said, stop)

    def send(self, worker: Worker, record: Frame) -> bool:
        """Put a frame into the log, twice at times. After a produce that fails, the worker gives its attempt up."""
        if self.dice.random() < 0.06:
            if self.dice.random() < 0.7:
                self.late.append(record)
            worker.attempt, worker.mark_at, worker.speaking = "", -1, False
            return False
        self.log.append(record)
        if record.kind is FrameKind.CHUNKS and self.dice.random() < 0.1:
            self.log.append(record)
        if self.dice.random() < 0.1:
            self.log.append(frame(FrameKind.ATTACH, submission="evt-9", first=0))
        return True


def played(seed: int) -> World:
    world = World(random.Random(seed))
    for _ in range(STEPS):
        world.step()
    world.log += world.late
    return world


def unspliced(said: list[str], prompts: dict[str, list[str]]) -> bool:
    """Each word is in its place, once, and the words of each call follow what that call was asked to go on with."""
    calls = [word.split("/")[0] for word in said]
    starts = {call: calls.index(call) for call in calls}
    return [word.split("/")[1] for word in said] == [str(n) for n in range(len(said))] and all(
        said[:start] == prompts.get(call, []) for call, start in starts.items()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_no_reader_is_told_a_splice_whatever_the_workers_do(seed: int) -> None:
    reader, before, world = Reader(), 0, played(seed)
    for offset, record in enumerate(world.log):
        ended = reader.answer.terminal
        folded = reader.read(offset, record)
        assert unspliced(reader.said, world.prompts), f"offset {offset}: {reader.said}"
        assert not folded.answer.gap
        assert len(reader.said) == reader.answer.next_seq
        if ended is not None:
            assert (folded.counts, folded.answer.terminal) == (False, ended)
        assert reader.answer.last >= before
        before = reader.answer.last
    if reader.answer.terminal not in (None, CANCELLED):
        assert len(reader.said) == WORDS


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reader_from_the_begin_mark_agrees_with_one_that_read_everything(seed: int) -> None:
    log = played(seed).log
    whole = read_all(log)
    if whole.answer.first < 0:
        return
    late = read_all(log, whole.answer.first)
    assert (late.answer, late.said, late.counted) == (whole.answer, whole.said, whole.counted)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_reader_comes_to_the_same_state_at_every_offset(seed: int) -> None:
    log = played(seed).log
    one, other = Reader(), Reader()
    for offset, record in enumerate(log):
        assert one.read(offset, record) == other.read(offset, record)
    # Delivered again from the start, as a broker that comes back may do, to a reader that ended, nothing is new.
    if one.answer.terminal is not None:
        again = [fold(one.answer, offset, record) for offset, record in enumerate(log)]
        assert not any(folded.counts or folded.chunks for folded in again)


@pytest.mark.parametrize("seed", SEEDS)
def test_only_the_first_of_the_marks_that_knew_the_same_counts(seed: int) -> None:
    log = played(seed).log
    reader = read_all(log)
    marks = [offset for offset in reader.counted if log[offset].kind in CLAIMS]
    assert len(marks) == reader.answer.attempts
    knew = [log[offset].after for offset in marks]
    assert len(set(knew)) == len(knew)
    for before, after in pairwise(reader.counted):
        if after in marks:
            assert log[after].after == before


def test_the_dice_reach_what_they_are_meant_to_reach() -> None:
    """Otherwise the tests above could pass on logs in which nothing happens."""
    readers = [(world, read_all(world.log)) for world in map(played, SEEDS)]
    assert sum(reader.answer.restarts > 0 for _, reader in readers) > len(SEEDS) / 4
    assert sum(len({word.split("/")[0] for word in reader.said}) > 1 for _, reader in readers) > len(SEEDS) / 8
    assert sum(reader.answer.terminal == CANCELLED for _, reader in readers) > len(SEEDS) / 20
    assert sum(reader.answer.terminal is not None for _, reader in readers) > len(SEEDS) / 4
    assert sum(world.calls > 1 for world, _ in readers) > len(SEEDS) / 4
    voided = [
        offset
        for world, reader in readers
        for offset, record in enumerate(world.log)
        if record.kind in CLAIMS and offset not in reader.counted
    ]
    assert len(voided) > len(SEEDS)
    zombies = [
        record
        for world, reader in readers
        for offset, record in enumerate(world.log)
        if record.kind is FrameKind.CHUNKS and offset not in reader.counted
    ]
    assert len(zombies) > len(SEEDS)


def test_a_reader_would_see_a_splice_if_marks_were_not_compared() -> None:
    """The checks above can fail: the same logs, with every mark made to count, give splices."""

    def careless(log: list[Frame]) -> list[str]:
        said: list[str] = []
        for record in log:
            for one in record.chunks:
                if record.seq <= len(said):
                    said.append(one["choices"][0]["delta"]["content"])
        return said

    worlds = [played(seed) for seed in SEEDS]
    assert not all(unspliced(careless(world.log), world.prompts) for world in worlds)
    assert unspliced(["a/0", "a/1"], {})
    assert unspliced(["a/0", "b/1"], {"b": ["a/0"]})
    assert not unspliced(["a/0", "b/1"], {})
    assert not unspliced(["a/0", "b/1"], {"b": ["c/0"]})
    assert not unspliced(["a/0", "a/0"], {})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reader_that_comes_back_after_any_word_gets_the_rest(seed: int) -> None:
    """The reader knows one record only: its attempt, and the number of the next word."""
    log, words = played(seed).log, Reader()
    for offset, record in enumerate(log):
        before = len(words.said)
        words.read(offset, record)
        for place in range(len(record.chunks) if len(words.said) > before else 0):
            had = record.seq + place + 1
            if had <= before:
                continue  # a repetition: no reader has its id
            late = Reader()
            late.answer = Answer(rid=RID, attempt=record.attempt, attempts=1, last=offset, next_seq=had)
            late.said = words.said[:had]
            for later in range(offset, len(log)):
                late.read(later, log[later])
            assert late.said == read_all(log).said
