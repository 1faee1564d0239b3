"""One export: from the records of a range to the lines or rows of a format."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum

from weir.chat.requests import ChatRequest
from weir.export.batch import BatchWriter
from weir.export.finetune import example
from weir.export.joined import Joined, Joining
from weir.export.jsonl import JsonlWriter
from weir.export.opinions import Opinions, verdict
from weir.export.output import Output, Sink
from weir.export.parquet import ParquetWriter
from weir.export.submissions import Submissions, matching
from weir.export.tally import Skip, Tally
from weir.export.where import Where
from weir.log.log import LogClient, Record
from weir.ranges.offset_ranges import OffsetRange
from weir.ranges.progress import Step
from weir.settings import Settings


class Format(StrEnum):
    """The format of the file."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    FINETUNE = "openai-finetune"
    BATCH = "openai-batch"

    @property
    def of_requests(self) -> bool:
        """Whether the format is made from chat-requests alone."""
        return self in {Format.FINETUNE, Format.BATCH}

    @property
    def suffix(self) -> str:
        """The suffix of the file's name."""
        kinds = {Format.FINETUNE: ".finetune.jsonl", Format.BATCH: ".batch.jsonl"}
        return kinds.get(self, f".{self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export."""

    format: Format
    spans: list[OffsetRange]
    where: Where = field(default_factory=Where)
    limit: int | None = None  # the most records to write
    model: str | None = None  # for a batch
    min_score: float = 0.5  # for examples
    unrated: bool = False  # whether an answer without explicit feedback may be an example


class Export:
    """Writes an export.

    Args:
        log: the log to read.
        asked: the options.
        output: the files to write.
        settings: the settings by which the Kafka door checks requests that clients write to chat-requests.
    """

    def __init__(self, log: LogClient, asked: ExportOptions, output: Output, settings: Settings) -> None:
        self.tally = Tally()
        self._log, self._asked, self._output, self._settings = log, asked, output, settings
        self._examples_of: set[str] = set()  # uids: only one answer of each becomes an example

    async def write(self, opinions: Opinions, step: Step) -> None:
        """Write every matching record, or as many as the limit allows.

        Args:
            opinions: feedback on answers, for examples.
            step: receives the number of offsets that are done.

        Raises:
            ReplayError: the export cannot be written, or not in this form.
            LogError: the log cannot be read.
        """
        if self._asked.format is Format.FINETUNE:
            await self._examples(opinions, step)
        elif self._asked.format is Format.BATCH:
            await self._batch(step)
        else:
            await self._records(step)

    def _counted(self) -> bool:
        """Count a written record; returns whether the limit is reached."""
        self.tally.written += 1
        return self.tally.written == self._asked.limit

    # -- any topic

    async def _records(self, step: Step) -> None:
        writer = ParquetWriter(self._output) if self._asked.format is Format.PARQUET else JsonlWriter(self._output)
        async for record in self._matching(step):
            writer.add(record)
            if self._counted():
                break
        writer.close()

    async def _matching(self, step: Step) -> AsyncIterator[Record]:
        for span in self._asked.spans:
            async for record in matching(self._log, span, self._asked.where, self.tally, step):
                yield record

    # -- chat-requests

    async def _batch(self, step: Step) -> None:
        submissions = Submissions(self._log, self._asked.where, self.tally, step, settings=self._settings)
        writer = BatchWriter(self._output, model=self._asked.model)
        for span in self._asked.spans:
            async for _, request in submissions.of(span):
                if not writer.add(request):
                    self.tally.skip(Skip.MALFORMED)
                elif self._counted():
                    return

    async def _examples(self, opinions: Opinions, step: Step) -> None:
        # A request that failed, and was answered after the dead letters were replayed, is an example with that answer.
        submissions = Submissions(
            self._log, self._asked.where, self.tally, step, settings=self._settings, redriven=True
        )
        sink = self._output.open()
        for span in self._asked.spans:
            candidates = self._candidates(submissions, span, opinions)
            async for joined in Joining(self._log, span.at.partition, candidates).all():
                if await self._example(joined, opinions, sink) and self._counted():
                    return

    async def _candidates(
        self, submissions: Submissions, span: OffsetRange, opinions: Opinions
    ) -> AsyncIterator[tuple[Record, ChatRequest]]:
        """The requests whose answers may be examples, as far as their feedback decides that."""
        async for record, request in submissions.of(span):
            opinion = opinions.of(request.tenant, request.uid)
            why = verdict(opinion, min_score=self._asked.min_score, unrated=self._asked.unrated)
            if why is None:
                yield record, request
            else:
                self.tally.skip(why)

    async def _example(self, joined: Joined, opinions: Opinions, sink: Sink) -> bool:
        line = await self._line(joined, opinions)
        if isinstance(line, Skip):
            self.tally.skip(line)
            return False
        self._examples_of.add(joined.request.uid)
        sink.write(line)
        return True

    async def _line(self, joined: Joined, opinions: Opinions) -> bytes | Skip:
        if joined.request.uid in self._examples_of:
            return Skip.AGAIN
        correction = opinions.of(joined.request.tenant, joined.request.uid).correction
        if correction is None:
            return example(joined, None)
        corrected = await opinions.corrected(correction)
        return Skip.GONE if corrected is None else example(joined, corrected)
