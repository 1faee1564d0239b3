"""Run a command beside the workers: the log without a consumer group, one line for an error, a telling exit code."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from app import topics
from app.core import Weir
from app.errors import ApiError
from replays.errors import INTERRUPTED, ReplayError
from transports.log import LogError

EVENTS_S = 10.0  # for the last events to get into the log


@asynccontextmanager
async def connected(app: Weir) -> AsyncIterator[Weir]:
    """The application's log client and its tails, for as long as a command runs.

    Raises:
        ReplayError: there is no embedded log yet.
        LogError: the log cannot be reached.
    """
    settings = app.settings
    if not settings.on_kafka and not await asyncio.to_thread(settings.embedded_path.is_file):
        raise ReplayError(f"there is no embedded log at {settings.embedded_path}; WEIR_DATA_DIR names its folder")
    await app.log_client.start()
    try:
        await app.log_client.create_topics(topics.TOPICS, replication=settings.kafka_replication_factor)
        await app.tails.start()
        yield app
    finally:
        await app.events.drain(EVENTS_S)
        await app.tails.stop()
        await app.log_client.stop()


def run(main: Coroutine[object, object, None]) -> NoReturn:
    """Run a command to its end; Ctrl-C and SIGTERM cancel it."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        asyncio.run(_stoppable(main))
    except ReplayError as error:
        _end(str(error), error.EXIT_CODE)
    except (LogError, ApiError, OSError) as error:
        _end(str(error), ReplayError.EXIT_CODE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    sys.exit(0)


async def _stoppable(main: Coroutine[object, object, None]) -> None:
    """Both signals cancel the command, which lets go of what it holds; a second one ends it at once."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        task.cancel()

    with suppress(NotImplementedError):  # Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    await task


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"weir: {message}\n")
    sys.exit(code)
