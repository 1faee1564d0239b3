"""Parses SQL in a process beside the worker: parsing takes processor time in one piece, and no answer must wait for it.

One line of JSON goes in, one comes out (``weir/lineage/__main__.py``). The process is started with the first answer
that has SQL in it, is killed when one takes too long, and ends by itself when the worker does.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress

import orjson

from weir.envelope import Json

logger = logging.getLogger(__name__)

PARSE_S = 10.0  # for one answer, including the wait for its turn: the offset of its request waits for so long
STOP_S = 2.0
LINE_MAX_BYTES = 64 * 1024 * 1024  # the most that the process may send back
WAITING_MAX = 200  # answers that wait for their turn


class NotParsedError(Exception):
    """An answer could not be parsed; the message says why, and never quotes the answer."""


class SqlProcess:
    """Parses answers for one worker, one at a time."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None

    async def queries(self, text: str, tool_arguments: Sequence[str]) -> list[Json]:
        """Find the queries in an answer, each a ``weir.lineage.model.Query`` as JSON.

        Raises:
            NotParsedError: too many answers wait already, or parsing took too long.
        """
        if self._waiting >= WAITING_MAX:
            raise NotParsedError("too many answers wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(PARSE_S), self._turn:
                return await self._ask({"text": text, "tool_arguments": tool_arguments, "dialect": self._dialect})
        except TimeoutError:
            raise NotParsedError(f"not within {PARSE_S:g} s") from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            await self._kill(self._process)

    async def _ask(self, question: Json) -> list[Json]:
        try:
            process = self._process or await self._start()
            if process.stdin is None or process.stdout is None:
                raise NotParsedError("the parser process has no pipes")
            process.stdin.write(orjson.dumps(question) + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readuntil(b"\n")
            return list(orjson.loads(line)["queries"])
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            await self.close()
            raise NotParsedError(f"{type(error).__name__}; the parser is restarted") from None
        except asyncio.CancelledError:
            # A late answer would be taken for that of the next question.
            await self.close()
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "weir.lineage",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_MAX_BYTES,
            start_new_session=True,  # Ctrl-C is for the worker alone
        )
        return self._process

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        self._process = None
        with suppress(ProcessLookupError):
            process.kill()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            logger.warning("the SQL parser's process %d has not ended after it was killed", process.pid)
