"""What one attempt has received from the LLM, as far as the terminal of its answer needs it. No I/O."""

import time

from weir.chat.fold import Answer, weir_finish
from weir.chat.frames import Status, Terminal
from weir.chat.notes import Notes
from weir.envelope import Json
from weir.llm.chunks import finish_reasons


class Heard:
    """What an attempt has received from the LLM. Timings are milliseconds since the attempt began."""

    def __init__(self, before: Answer, notes: Notes) -> None:
        self._notes = notes
        # After a restart mark the earlier output does not count; the fold has dropped it.
        self._usage, self._reasons = before.usage, dict(before.finish_reasons)
        self._began = time.monotonic()
        self._first: float | None = None
        self._weir_finish = before.weir_finish

    @property
    def began(self) -> bool:
        """Whether the LLM has sent a chunk."""
        return self._first is not None

    def chunk(self, chunk: Json) -> None:
        """Add one chunk. Called for each."""
        if self._first is None:
            self._first = time.monotonic()
        self._usage = chunk.get("usage") or self._usage
        reasons = finish_reasons([chunk])
        if reasons:
            self._reasons |= reasons
            self._weir_finish = weir_finish([chunk]) or self._weir_finish
        self._notes.add(chunk)

    def terminal(self, error: Json | None = None) -> Terminal:
        """Return the terminal of the answer: completed, or failed with an error."""
        first_ms = None if self._first is None else round((self._first - self._began) * 1000, 3)
        total_ms = round((time.monotonic() - self._began) * 1000, 3)
        return Terminal(
            status=Status.COMPLETED if error is None else Status.FAILED,
            finish_reason=self._reasons.get(0) if error is None else None,
            weir_finish=self._weir_finish if error is None else None,
            usage=self._usage,
            error=error,
            timings={"first_chunk_ms": first_ms, "total_ms": total_ms},
        )
