"""Shares the tests out among processes of pytest-xdist (``--dist loadfile``, as `make test` runs them).

The tests of a file share brokers that take seconds to start, so they go to one process. What a file tests on the
embedded log shares no broker with the rest of the file: it is a *part* of its own.

The parts that take minutes begin first. The run ends with the last part, and while that part goes on alone, the other
processes have nothing to do.
"""

import re
from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling

# Parts that take more than a minute, longest first; ``--durations=50`` measures them.
LONGEST: Final = (
    "e2e/test_replay.py",
    "e2e/test_rabbitmq_crash.py",
    "e2e/test_replay.py@embedded",
    "e2e/test_rabbitmq_steady.py",
    "e2e/test_cluster.py",
    "e2e/test_crash.py",
    "e2e/test_rebuild.py@embedded",
    "e2e/test_rebuild.py",
    "e2e/test_export.py",
    "e2e/test_quality.py",
    "e2e/test_redrive.py",
    "e2e/test_export.py@embedded",
    "e2e/test_crash.py@embedded",
    "contracts/test_repairs.py",
    "e2e/test_two_workers.py",
    "e2e/test_installations.py",
    "e2e/test_secured.py",
    "e2e/test_streams.py",
    "e2e/test_rabbitmq_away.py",
    "cycle/test_cycle.py",
    "chaos/test_chaos.py",
    "e2e/test_redrive.py@embedded",
    "e2e/test_insights.py",
    "contracts/test_kafka_client.py",
)
FOLDERS: Final = ("e2e", "compatibility", "contracts", "unit")  # the rest, in this order
EMBEDDED: Final = re.compile(r"\[(?:.*-)?embedded(?:-.*)?\]$")


def part_of(test: str) -> str:
    """The part that a test belongs to, by the test's id."""
    file = test.partition("::")[0].removeprefix("tests/")
    return f"{file}@embedded" if EMBEDDED.search(test) else file


def rank_of(part: str) -> int:
    """A part's place in the order: the smaller, the earlier it begins."""
    if part in LONGEST:
        return LONGEST.index(part)
    folder = part.partition("/")[0]
    return len(LONGEST) + (FOLDERS.index(folder) if folder in FOLDERS else 0)


class Parts(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Gives each process one part after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return part_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Parts | None:
    """Make the scheduler of ``--dist loadfile``; xdist makes those of other modes."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # by the number of tests; here the longest begin first
    return Parts(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests, in a process of xdist only: one process alone begins with the quick ones, as collected."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank_of(part_of(item.nodeid)))
