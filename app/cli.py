"""Repairs Faust's own commands for people: one line for an error, and no traceback.

Faust runs a command as a service of a worker, which logs an error of it with two tracebacks; and its ``agents`` does
not know agents of several topics. Both are repaired in its classes, as the ``faust`` script has no hook for it.
"""

import asyncio
from typing import Any, Final

import click
from faust.cli.agents import agents
from faust.cli.base import Command
from faust.types import AgentT

_execute: Final = Command.execute


async def _in_one_line(command: Command, *args: Any, **kwargs: Any) -> None:
    try:
        await _execute(command, *args, **kwargs)
    except click.ClickException as error:
        _end(error.format_message())
    except (asyncio.CancelledError, SystemExit):
        raise
    except Exception as error:  # noqa: BLE001 -- a person reads one line
        _end(f"{type(error).__name__}: {error}")


def _end(text: str) -> None:
    raise SystemExit(f"weir: {' '.join(text.split())}") from None


def _topics(_command: agents, agent: AgentT[Any]) -> str | None:
    names = getattr(agent.channel, "topics", None)
    return ", ".join(names) if names else None


def repair() -> None:
    """Repair the commands of this process."""
    Command.execute = _in_one_line  # type: ignore[assignment]  # it repairs a class of Faust
    agents._maybe_topic = _topics  # type: ignore[assignment]  # noqa: SLF001 -- the same
