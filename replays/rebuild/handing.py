"""Hands what was rebuilt to the owners of the live tables, through the log, and waits until they have taken it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app import publishing
from app.publishing import Events
from events.feedback import FeedbackRescored, Rescored
from events.metrics import QualityRebuilt
from feedback import pieces
from feedback.pieces import Piece
from replays.errors import UnfinishedError
from replays.rebuild import rebuilds
from replays.rebuild.live import Changes
from replays.rebuild.planning import Plan
from replays.rebuild.rebuilding import Rebuilt
from replays.rebuild.rescoring import Formula
from replays.runs import Run
from transports.log import LogClient, Record
from windows.reading import time_ms
from windows.rows import Rows

LOOK_S: Final = 0.2  # between two looks at a changelog
AT_ONCE: Final = 200  # events on their way to the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The changelogs of the live tables."""

    quality: str
    feedback: str


class Handing:
    """Hands over one run.

    Args:
        log: where.
        events: how events are written.
        tables: where the owners' changes are.
        tenant: of events that are nobody's.
        patience_s: without any change, after which the owners count as away.
    """

    def __init__(self, log: LogClient, events: Events, tables: Tables, *, tenant: str, patience_s: float) -> None:
        self._log, self._events, self._tables, self._tenant = log, events, tables, tenant
        self._patience_s = patience_s

    # -- windows

    async def taken(self, run: Run, number: int) -> bool:
        """Whether the owner of a partition has taken what a run rebuilt of it.

        Raises:
            LogError: the log cannot be read.
        """
        return _has(await self._read(self._tables.quality, number), number, run)

    async def windows(self, run: Run, plan: Plan, found: Rebuilt) -> None:
        """Give a partition's rows to its owner; it takes them when it comes to the event.

        Raises:
            LogError: they may or may not be there.
        """
        metrics, signals = plan.inputs(found.number)
        written = await rebuilds.write(self._log, found.number, run.id, found.rows)
        told = QualityRebuilt(
            run=run.id,
            first=written.first,
            end=written.end,
            count=written.rows,
            metrics=metrics.end,
            signals=signals.end,
            emit=plan.emit,
        )
        event = publishing.encode(told, self._tenant)
        await self._log.append(event.topic, found.number, event.key, event.value, event.headers)

    async def windows_taken(self, run: Run, number: int) -> None:
        """Wait for that.

        Raises:
            UnfinishedError: nothing has happened for too long.
            LogError: the log cannot be read.
        """
        changes = await self._read(self._tables.quality, number)
        await self._until(
            changes, lambda: _has(changes, number, run), run, f"partition {number} of the windows has not been taken"
        )

    # -- feedback

    async def feedback_wrong(self, number: int, formula: Formula) -> int:
        """How many rows of a partition of the feedback table have other numbers than today's.

        Raises:
            LogError: the log cannot be read.
        """
        rows = (await self._read(self._tables.feedback, number)).rows
        return sum(bool(wrong_in(value, formula)) for value in rows.values())

    async def feedback(self, run: Run, number: int, formula: Formula) -> int:
        """Have the rows of a partition of the feedback table rescored; how many that were.

        Raises:
            UnfinishedError: nothing has happened for too long.
            LogError: the log is away.
        """
        changes = await self._read(self._tables.feedback, number)
        wrong = {key for key, value in changes.rows.items() if wrong_in(value, formula)}
        if not wrong:
            return 0
        events = [self._rescored(run, changes.rows[key], formula) for key in sorted(wrong)]
        for place in range(0, len(events), AT_ONCE):
            part = events[place : place + AT_ONCE]
            await asyncio.gather(*(self._events.publish(data, tenant) for data, tenant in part))
        left = set(wrong)

        def seen(record: Record) -> None:
            if record.key in left and not (record.value and wrong_in(record.value, formula)):
                left.discard(record.key)

        await self._until(changes, lambda: not left, run, "feedback has not been rescored", seen)
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
        seen: Callable[[Record], None] = lambda _: None,
    ) -> None:
        heard_at = time.monotonic()
        while not done():
            if await changes.read(seen):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > self._patience_s:
                raise UnfinishedError(
                    f"{what}: its worker is away, or far behind. --resume {run.id} goes on when it is back"
                )
            else:
                await asyncio.sleep(LOOK_S)


def wrong_in(value: bytes, formula: Formula) -> dict[str, Rescored]:
    """The signals of a row of the feedback table that have other numbers than today's, with today's."""
    row: Any = orjson.loads(value)
    found: dict[str, Rescored] = {}
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


def _has(changes: Changes, number: int, run: Run) -> bool:
    return Rows(changes.rows).partition(number).rebuilt >= run.id
