"""Runs a command beside the workers: the log without a consumer group, one line for an error, an exit code for each."""

import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from io import TextIOWrapper
from typing import NoReturn

from app import parts, startup
from weir import topics
from weir.chat.audit import Action, Audit, Caller
from weir.errors import ApiError
from weir.events.ingress import Ingress
from weir.log.log import LogError, LogUnavailableError
from weir.ranges.errors import INTERRUPTED, ReplayError
from weir.worker import Worker

EVENTS_S = 10.0  # for the last events to get into the log
AUDIT_S = 30.0  # for the log to take the audit event of the act

logger = logging.getLogger(__name__)


@asynccontextmanager
async def connected(worker: Worker, *, create: bool = True) -> AsyncIterator[Worker]:
    """Connect the log client and its tails, for as long as a command runs.

    Args:
        worker: the worker object of the command.
        create: whether topics that are missing are created. A command that only reads may not be allowed to, and may
            have been pointed at a cluster that has none of them.

    Raises:
        ReplayError: there is no embedded log yet.
        LogError: the log cannot be reached.
    """
    settings = worker.settings
    if not settings.on_kafka and not await asyncio.to_thread(settings.embedded_path.is_file):
        raise ReplayError(f"there is no embedded log at {settings.embedded_path}; WEIR_DATA_DIR names its folder")
    await worker.log.start()
    try:
        if create:
            await startup.make_missing_topics(worker.log, settings)
        await worker.tails.start()
        yield worker
    finally:
        await worker.events.drain(EVENTS_S)
        await worker.tails.stop()
        await worker.log.stop()


def run(main: Coroutine[object, object, None], *, attached: bool = False) -> NoReturn:
    """Run a command to its end; Ctrl-C and SIGTERM cancel it.

    Args:
        main: the command.
        attached: whether the end of standard input cancels it, too: the program that started it is gone then.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no arrows still gets its report
    try:
        asyncio.run(_stoppable(main, attached=attached))
    except ReplayError as error:
        _end(str(error), error.EXIT_CODE)
    except (LogError, ApiError, OSError) as error:
        _end(str(error), ReplayError.EXIT_CODE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    except Exception as error:  # a user reads one line, a developer looks for more with LOG_LEVEL=debug
        logger.setLevel(parts.worker.settings.log_level.upper())
        logger.debug("the defect:", exc_info=True)
        _end(" ".join(f"a defect: {error!r}; LOG_LEVEL=debug shows where".split()), ReplayError.EXIT_CODE)
    sys.exit(0)


async def audit(worker: Worker, resource_id: str, action: Action, *, tenant: str | None = None) -> None:
    """Record that a user does something by a command, and wait until the event is in the log: else it is not done.

    Raises:
        LogError: audit-events does not take the event.
    """
    caller, actor, tenant = Caller(ingress=Ingress.CLI), _os_user(), tenant or worker.settings.default_tenant
    try:
        async with asyncio.timeout(AUDIT_S):
            await Audit(worker.events, worker.settings.default_tenant).publish(
                action, caller, tenant=tenant, actor=actor, resource_id=resource_id
            )
    except TimeoutError:
        raise LogUnavailableError(f"{topics.AUDIT.name} did not take the event within {AUDIT_S:g} s") from None


def _os_user() -> str:
    """Return the user who runs this, by the system and not by the environment."""
    try:
        import pwd
    except ImportError:  # Windows
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container
        return str(os.getuid())


def say(line: str) -> None:
    """Print a line for the user, beside the command's output."""
    with suppress(OSError):  # the program that started it may be gone
        sys.stderr.write(f"weir: {line}\n")


async def _stoppable(main: Coroutine[object, object, None], *, attached: bool) -> None:
    """Both signals cancel the command, which releases what it holds; a second one ends it at once."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        task.cancel()

    with suppress(NotImplementedError):  # Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    if attached:
        await loop.connect_read_pipe(lambda: _Ends(stop), sys.stdin)
    await task


class _Ends(asyncio.Protocol):
    """Watches for the end of a pipe."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def eof_received(self) -> None:
        self._ended()


def _end(message: str, code: int) -> NoReturn:
    say(message)
    sys.exit(code)
