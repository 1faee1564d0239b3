"""An error that may pass is retried; a final one is not."""

import logging

import pytest

from weir.log import retrying
from weir.log.log import (
    LogError,
    LogRefusedError,
    LogReplacedError,
    LogUnavailableError,
    OtherPartitionsError,
    RecordTooLargeError,
)
from weir.log.retrying import until_answered, until_written

MAY_PASS = (LogUnavailableError("away"), LogError("the fate of the record is unknown"))
FINAL = (
    LogRefusedError("no such topic"),
    LogReplacedError("created anew"),
    RecordTooLargeError("9 MB"),
    OtherPartitionsError("t", 1, 6),
)


class Log:
    """Fails as often as a test says."""

    def __init__(self, *errors: Exception) -> None:
        self.tries, self._errors = 0, list(errors)

    async def ask(self) -> int:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        return 42


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_S", 0.0)


async def test_an_error_that_may_pass_is_followed_by_another_try_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    log = Log(*MAY_PASS)
    assert await until_answered(log.ask) == 42
    assert log.tries == 3
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the log: away",
        "waiting for the log: the fate of the record is unknown",
    ]


@pytest.mark.parametrize("error", [*FINAL, ValueError("a defect")], ids=lambda error: type(error).__name__)
async def test_an_error_that_is_final_is_raised_at_once(error: Exception) -> None:
    log = Log(MAY_PASS[0], error)
    with pytest.raises(type(error)) as raised:
        await until_answered(log.ask)
    assert (raised.value, log.tries) == (error, 2)


async def test_a_limit_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_S", 60.0)
    log = Log(*MAY_PASS)
    with pytest.raises(LogError, match="unknown"):
        await until_answered(log.ask, limit_s=0.01)  # cuts the pause
    assert log.tries == 2


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
async def test_a_record_that_can_never_be_written_is_logged_and_blocks_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(*MAY_PASS, error)
    await until_written(log.ask)
    assert log.tries == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.WARNING, logging.ERROR]
    assert caplog.records[-1].exc_info is not None


async def test_a_defect_in_writing_is_raised() -> None:
    with pytest.raises(ValueError, match="a defect"):
        await until_written(Log(ValueError("a defect")).ask)
