"""The largest record of a topic, as brokers report it, and where they do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from weir.log.kafka.record_limits import SETTING, RecordLimits

MOST = 1000
FORBIDDEN = 29  # TOPIC_AUTHORIZATION_FAILED


@dataclass
class Answer:
    """An answer to DescribeConfigs."""

    resources: Sequence[Any]


@dataclass
class Admin:
    """Answers with one configuration of the topic."""

    code: int
    entries: Sequence[tuple[Any, ...]]

    async def describe_configs(self, resources: Sequence[Any]) -> list[Answer]:
        return [Answer([(self.code, "no", 2, resource.name, self.entries) for resource in resources])]


@pytest.mark.parametrize(
    ("admin", "limit"),
    [
        (Admin(0, [(SETTING, "500", False, 1, False)]), 500),
        (Admin(0, [(SETTING, "5000", False, 1, False)]), MOST),
        (Admin(0, [(SETTING, None, False, 1, True)]), MOST),
        (Admin(0, [("retention.ms", "7", False, 1, False)]), MOST),
        (Admin(0, []), MOST),
        (Admin(FORBIDDEN, []), MOST),
    ],
    ids=["less", "more", "a value that is not told", "another setting", "nothing", "forbidden"],
)
async def test_a_limit_is_what_the_topic_takes_and_else_the_clients_own(admin: Admin, limit: int) -> None:
    limits = RecordLimits(MOST)
    await limits.read(admin, ["t"])
    assert (limits.of_record("t"), limits.of_batch("t"), limits.of_record("other")) == (limit, limit, MOST)
