"""Hands rebuilt rows to the owners of the live tables, through the log, and waits until the owners have taken them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from weir.events import publishing
from weir.events.feedback import FeedbackRescored, Rescored
from weir.events.metrics import QualityRebuilt
from weir.events.publishing import Events
from weir.feedback import pieces
from weir.feedback.pieces import Piece
from weir.insights import rebuilt_rows
from weir.insights.reading import RecordSource, time_ms
from weir.insights.rows import QualityRows
from weir.insights.values import RebuiltRow, WindowRow
from weir.log.batching import in_batches
from weir.log.log import LogClient, Record
from weir.ranges.changelog import Changes
from weir.ranges.errors import UnfinishedError
from weir.replay.rebuild.planning import RebuildPlan
from weir.replay.rebuild.rebuilding import Rebuilt
from weir.replay.rebuild.rescoring import Formula
from weir.replay.runs import Run, Runs
from weir.replay.waiting import WaitForWorkers

LOOK_S: Final = 0.2  # between two reads of a changelog
AT_ONCE: Final = 200  # events on their way to the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Changelogs:
    """The changelogs of the live tables."""

    quality: str
    feedback: str


class Handing:
    """Hands over the rows of one run.

    Args:
        log: the log to write to.
        events: the publisher of events.
        tables: the changelogs with the owners' changes.
        runs: the runs in the log, which show whether a run was cancelled.
        tenant: the tenant of events that belong to no tenant.
        patience_s: how long the changelog may stand still before the owners count as away.
    """

    def __init__(
        self, log: LogClient, events: Events, tables: Changelogs, runs: Runs, *, tenant: str, patience_s: float
    ) -> None:
        self._log, self._events, self._tables, self._runs = log, events, tables, runs
        self._tenant, self._patience_s = tenant, patience_s

    # -- windows

    async def taken(self, run: Run, number: int) -> bool:
        """Whether the owner of a partition has taken the rows that a run rebuilt.

        Raises:
            LogError: the log cannot be read.
        """
        return _rebuilt(await self._read(self._tables.quality, number), number).run == run.id

    async def windows(self, run: Run, plan: RebuildPlan, found: Rebuilt, formula: str) -> int:
        """Give a partition's rows to its owner, which takes them when it reads the event; returns the event's offset.

        Raises:
            LogError: the rows may or may not be in the log.
        """
        metrics, signals = plan.inputs(found.number)
        written = await rebuilt_rows.write(self._log, found.number, run.id, found.rows)
        data = QualityRebuilt(
            run=run.id,
            first=written.first,
            end=written.end,
            count=written.rows,
            metrics=metrics.end,
            signals=signals.end,
            after=found.after,
            formula=formula,
            emit=plan.emit,
        )
        event = publishing.encode(data, self._tenant)
        return await self._log.append(event.topic, found.number, event.key, event.value, event.headers)

    async def windows_taken(self, run: Run, number: int, offset: int) -> None:
        """Wait until the owner has taken the rows.

        Raises:
            UnfinishedError: there was no change for too long, or the owner has skipped the event.
            CancelledRunError: the run was cancelled.
            LogError: the log cannot be read.
        """
        changes = Changes(self._log, self._tables.quality, number)
        beyond = False

        def seen(record: Record) -> None:
            nonlocal beyond
            beyond = beyond or (_folded_behind(record, offset) and not _rebuilt(changes, number).swapping)

        def done() -> bool:
            row = _rebuilt(changes, number)
            if row.at >= offset or row.run == run.id:  # the run was resumed, and the earlier event was read
                return True
            why = row.why if row.passed >= offset else "its version does not know rebuilds" if beyond else None
            if why is not None:
                raise UnfinishedError(f"partition {number} of the windows: its owner has skipped the rows: {why}")
            return False

        await changes.read(seen)
        what = f"partition {number} of the windows has not been taken"
        await self._until(changes, done, run, what, heard=lambda: changes.position, seen=seen)

    # -- feedback

    async def feedback_wrong(self, number: int, formula: Formula) -> int:
        """How many rows of a partition of the feedback table have other numbers than the present formula gives.

        Raises:
            LogError: the log cannot be read.
        """
        rows = (await self._read(self._tables.feedback, number)).rows
        return sum(bool(wrong_in(value, formula)) for value in rows.values())

    async def feedback(self, run: Run, number: int, formula: Formula) -> int:
        """Have the rows of a partition of the feedback table rescored; returns their number.

        Raises:
            UnfinishedError: there was no change for too long.
            CancelledRunError: the run was cancelled.
            LogError: the log is away.
        """
        changes = await self._read(self._tables.feedback, number)
        wrong = {key for key, value in changes.rows.items() if wrong_in(value, formula)}
        if not wrong:
            return 0
        events = [self._rescored(run, changes.rows[key], formula) for key in sorted(wrong)]
        await in_batches((self._events.publish(data, tenant) for data, tenant in events), AT_ONCE)
        left = set(wrong)

        def seen(record: Record) -> None:
            if record.key in left and not (record.value and wrong_in(record.value, formula)):
                left.discard(record.key)

        what = "feedback has not been rescored"
        await self._until(changes, lambda: not left, run, what, heard=lambda: len(left), seen=seen)
        return len(wrong)

    @staticmethod
    def _rescored(run: Run, value: bytes, formula: Formula) -> tuple[FeedbackRescored, str]:
        row = orjson.loads(value)
        found = wrong_in(value, formula)
        return FeedbackRescored(uid=row["uid"], run=run.id, signals=found), row["pieces"][0]["tenant"]

    # --

    async def _read(self, changelog: str, number: int) -> Changes:
        changes = Changes(self._log, changelog, number)
        await changes.read()
        return changes

    async def _until(
        self,
        changes: Changes,
        done: Callable[[], bool],
        run: Run,
        what: str,
        *,
        heard: Callable[[], int],
        seen: Callable[[Record], None],
    ) -> None:
        """Wait until ``done``, as long as the number that ``heard`` returns keeps changing."""
        waiting, last = WaitForWorkers(self._patience_s, lambda: self._runs.still_wanted(run)), heard()
        why = f"{what}: its worker is away, or far behind. --resume {run.id} goes on when it is back"
        while not done():
            await changes.read(seen)
            if (found := heard()) != last:
                last = found
                waiting.heard()
            await waiting.check(lambda: why)
            await asyncio.sleep(LOOK_S)


def wrong_in(value: bytes, formula: Formula) -> dict[str, Rescored]:
    """The signals in a row of the feedback table whose numbers differ from today's formula, with the new ones.

    A malformed row has none: workers skip it as well.
    """
    found: dict[str, Rescored] = {}
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        row: Any = orjson.loads(value)
        for piece in pieces.pieces(row):
            worth = _worth(piece, row["uid"], formula)
            if worth is not None:
                found[piece.feedback_id] = worth
    return found


def _worth(piece: Piece, uid: str, formula: Formula) -> Rescored | None:
    if piece.signal is None or time_ms("given_at", piece.given_at) < formula.from_ms:
        return None
    worth = formula.worth(piece.tenant, uid, piece.feedback_id)
    if worth is None or worth == (piece.signal["score"], piece.signal["weight"]):
        return None
    return Rescored(score=worth.score, weight=worth.weight)


def _rebuilt(changes: Changes, number: int) -> RebuiltRow:
    return QualityRows(changes.rows).rebuilt(number)


def _folded_behind(record: Record, offset: int) -> bool:
    """Whether a change is of a window, made by a record that comes after an event in the log."""
    if record.key is None or record.value is None or not record.key.startswith(b"window/"):
        return False
    with suppress(ValueError, TypeError, AttributeError):  # it is not a row of a window
        return WindowRow.decode(record.value).offsets.get(RecordSource.METRICS, -1) > offset
    return False
