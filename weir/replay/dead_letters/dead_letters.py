"""A run that sends dead letters again: decided on once, done at most once, whatever process is killed."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from weir import topics
from weir.envelope import Json
from weir.events.replays import ReplayRedriven
from weir.log.log import LogError, Record
from weir.ranges.errors import NothingError, UnfinishedError, UsageError
from weir.ranges.offset_ranges import OffsetRange, each, resolve, size
from weir.ranges.progress import Step, Steps, unseen
from weir.ranges.when import When
from weir.replay.dead_letters.choosing import PAGE, Choice, Chosen, Wanted, choose, look_for_one, wanted_from
from weir.replay.dead_letters.letters import SOURCES
from weir.replay.dead_letters.letters_report import report_of
from weir.replay.dead_letters.orders import orders_of
from weir.replay.dead_letters.outcomes import Outcomes, Sent
from weir.replay.dead_letters.resending import Sender
from weir.replay.runs import Run, RunKind, Runs, check_wanted
from weir.worker import Worker

BATCH: Final = 50  # letters on their way at the same time
RANGE_MAX: Final = 250_000  # letters to choose from: a kilobyte or less is held in memory for each
LETTERS: Final = topics.CHAT_DEAD_LETTERS.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The speed of a run, and how long it waits."""

    rate: float | None = None  # letters per second
    wait: bool = True  # whether to wait for the ends of requests
    patience_s: float = 300.0  # how long to wait without any progress


class Redriving:
    """Carries out a run over dead letters, for one command."""

    def __init__(self, worker: Worker, steps: Steps = unseen) -> None:
        self._worker, self._steps = worker, steps
        self._log = worker.log
        self._tenant = worker.settings.default_tenant
        self._runs = Runs(worker.log, worker.events, tenant=self._tenant)

    async def look(self, since: When, until: When, wanted: Wanted) -> Json:
        """A report of the letters that would be sent; writes nothing.

        Raises:
            ReplayError: there is no such letter.
            LogError: the log cannot be read.
        """
        return report_of(await choose(self._log, await self._spans(since, until), wanted))

    async def begin(self, since: When, until: When, wanted: Wanted, *, by: str) -> Run:
        """Decide on a run; `carry_out` brings it to its end.

        Args:
            since: the first letter.
            until: the end of the range.
            wanted: the conditions that letters must meet.
            by: ``cli`` or ``http``.

        Raises:
            ReplayError: there is no such letter.
            LogError: the log is away; nothing has begun.
        """
        spans = await self._spans(since, until)
        await look_for_one(self._log, spans, wanted)
        return await self._runs.begin(RunKind.DEAD_LETTERS, wanted.as_json(), spans, watched=SOURCES, by=by)

    async def _spans(self, since: When, until: When) -> list[OffsetRange]:
        kept_s = topics.CHAT_DEAD_LETTERS.retention_s(self._worker.settings)
        spans = await resolve(self._log, LETTERS, since, until, now=time.time(), kept_s=kept_s)
        if size(spans) > RANGE_MAX:
            raise UsageError(f"--from: {size(spans)} letters are to choose from: ask for a smaller range ({RANGE_MAX})")
        return spans

    async def carry_out(self, run: Run, pace: Pace) -> Json:
        """Bring a run to its end, from where it stands; returns its report, also if it has ended already.

        Args:
            run: a run from `begin`, or one that was found.
            pace: the speed of the run.

        Raises:
            CancelledRunError: the run was cancelled.
            ReplayError: the run is not over dead letters; or it stopped before its end.
            LogError: the log is away.
        """
        if run.kind is not RunKind.DEAD_LETTERS:
            raise UsageError(f"run {run.id} is not a run over dead letters but of {run.kind}")
        check_wanted(run)
        if run.ended is not None and run.is_over:
            return run.ended.summary
        choice = await self._choice(run)
        try:
            return await self._run(run, choice, pace)
        except (UnfinishedError, LogError) as error:
            raise UnfinishedError(f"{error} (go on with --resume {run.id})") from error

    async def _choice(self, run: Run) -> Choice:
        try:
            return await choose(self._log, run.spans, wanted_from(run.parameters))
        except (NothingError, UsageError) as error:
            await self._runs.end(run, {"error": str(error)}, status="failed")
            raise

    async def _run(self, run: Run, choice: Choice, pace: Pace) -> Json:
        sender = await self._sender(run, choice)
        with self._steps("sent again", len(choice.chosen)) as step:
            await self._send(run, choice, sender, pace, step)
        ends = await self._ends(run, list(sender.requests.values()), pace) if pace.wait else Counter[str]()
        from_rabbitmq = sum(one.ordered is not None and one.id in sender.places for one in choice.chosen)
        report = report_of(
            choice,
            run=run.id,
            sent=sender.places.keys(),
            skipped=sender.skipped,
            orders={"ordered": len(sender.ordered), "gone": from_rabbitmq - len(sender.ordered)},
            requests={"sent": len(sender.requests), "waited": pace.wait, "ends": dict(ends.most_common())},
        )
        if pace.wait or not sender.requests:
            await self._runs.still_wanted(run)
            await self._runs.end(run, report)
        return report

    async def _sender(self, run: Run, choice: Choice) -> Sender:
        """The sender of a run, with the orders that it needs, and with the letters that the run has sent before."""
        ordered = {one.ordered: one.accepted_at for one in choice.chosen if one.ordered is not None}
        sender = Sender(
            self._log,
            self._worker.events,
            run,
            tenant=self._tenant,
            orders=await orders_of(self._log, ordered.keys(), min(ordered.values(), default=0.0)),
            value_max_bytes=self._worker.settings.record_value_max_bytes,
        )
        published = {event.data.get("letter") for event in await self._runs.results(run.id, ReplayRedriven)}
        await sender.recall({one.id: one for one in choice.chosen}, {str(letter) for letter in published})
        return sender

    async def _ends(self, run: Run, sent: Sequence[Sent], pace: Pace) -> Counter[str]:
        with self._steps("ended", len(sent)) as step:
            outcomes = Outcomes(
                self._log,
                self._worker.tails,
                patience_s=pace.patience_s,
                step=step,
                still_wanted=lambda: self._runs.still_wanted(run),
            )
            await outcomes.follow(sent)
        return outcomes.counts

    async def _send(self, run: Run, choice: Choice, sender: Sender, pace: Pace, step: Step) -> None:
        began, count = time.monotonic(), 0
        batch_max = BATCH if pace.rate is None else max(1, min(BATCH, int(pace.rate)))
        async for batch in self._batches(run.spans, choice.chosen, batch_max):
            await self._runs.still_wanted(run)
            fresh = sum(one.id not in sender.places for one, _ in batch)
            await sender.send(batch)
            step.advance(len(batch))
            count += fresh
            if pace.rate is not None:
                await asyncio.sleep(began + count / pace.rate - time.monotonic())

    async def _batches(
        self, spans: Sequence[OffsetRange], chosen: Sequence[Chosen], batch_max: int
    ) -> AsyncIterator[list[tuple[Chosen, Record]]]:
        """The chosen letters, as they are in the log."""
        wanted = {(one.at, one.offset): one for one in chosen}
        batch: list[tuple[Chosen, Record]] = []
        for span in spans:
            async for record in each(self._log, span, page=PAGE):
                one = wanted.get((span.at, record.offset))
                if one is not None:
                    batch.append((one, record))
                if len(batch) == batch_max:
                    yield batch
                    batch = []
        if batch:
            yield batch
