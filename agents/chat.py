"""The chat agent: requests in, answers out."""

from typing import Any

from faust.types import StreamT

from app import app
from app.core import unacknowledged
from weir import topics
from weir.answering.answering import Answering
from weir.answering.calling import CallRules
from weir.answering.continuing import Continuation
from weir.answering.in_flight import Work
from weir.answering.lineage import Provenance
from weir.answering.rules import Rules
from weir.chat.frames import Kind
from weir.lineage.process import SqlProcess
from weir.llm.calls import Allowance
from weir.settings import OFF

settings = app.settings
answering = Answering(
    log=app.log_client,
    tails=app.tails,
    model=app.upstream,
    # An embedded log has one worker, and its lock is ours: an attempt of anybody else is one of a dead process.
    rules=Rules(
        lease_s=settings.lease_s,
        attempts_max=settings.attempts_max,
        frame_max_bytes=settings.record_value_max_bytes,
        alone=not settings.on_kafka,
        continuation=Continuation(settings.openai_continuation),
        calls=CallRules(
            header_wait_s=settings.sse_header_wait_s,
            think_tags=settings.think_tags,
            answer=Allowance(
                max_bytes=settings.answer_max_bytes,
                max_tokens=settings.answer_max_tokens,
                max_s=settings.answer_max_s,
            ),
        ),
    ),
    stopping=lambda: app.draining,
    on_handoff=lambda request: app.metrics.attempted(Kind.HANDOFF, replay=request.replay is not None),
)
parser = SqlProcess(settings.lineage_dialect)
provenance = Provenance(app.events, parser, redactor=app.teller.redactor)
work = Work(app, answering, None if settings.lineage_dialect == OFF else provenance)
app.on_drain(work.drain)
app.on_stopped(parser.close)
app.lineage_skipped = lambda: provenance.skipped
app.in_flight = lambda: work.in_flight
app.generated = work.generated
app.begin = work.begin


@app.agent(app.source(topics.CHAT_REQUESTS), name="chat")
async def chat(stream: StreamT[Any]) -> None:
    """Answer requests, many at once; each is acknowledged after its terminal was read out of the log."""
    async for event in unacknowledged(stream):
        await work.take(event)
