"""The log lines that are shown, and the texts that must never be in them."""

import logging
from collections.abc import Iterator

import pytest

from weir.telemetry import logs


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()}")


@pytest.fixture
def kept() -> Iterator[Kept]:
    root, names = (
        logging.getLogger(),
        ["", logs.LOG_CLIENTS, *logs.OWN_LOGGERS, *logs.SECRET_LOGGERS, *logs.REPEATING_LOGGERS],
    )
    before = {name: logging.getLogger(name).level for name in names}
    handler = Kept()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    for other in root.handlers:
        for filter_ in list(other.filters):
            if isinstance(filter_, logs.OnceInAWhile):
                other.removeFilter(filter_)


def set_up(level: int) -> None:
    logging.getLogger().setLevel(level)
    logs.set_up(logging.getLogger(), level)


@pytest.mark.parametrize("name", ["aiokafka", "aiokafka.producer.sender"])
def test_a_repeated_line_of_a_library_is_logged_once_and_weirs_own_lines_always(kept: Kept, name: str) -> None:
    set_up(logging.INFO)
    for n in range(100):
        logging.getLogger(name).error("Unable connect to node %d", n)
        logging.getLogger("weir.chat.traces").warning("dropped %d", n)
    assert sum(line.startswith("aiokafka") for line in kept.lines) == 1
    assert sum(line.startswith("weir") for line in kept.lines) == 100


def test_at_info_the_engine_tells_only_what_must_be_acted_on(kept: Kept) -> None:
    set_up(logging.INFO)
    logging.getLogger("faust.tables.recovery").info("Resuming flow")
    logging.getLogger("faust.tables.recovery").warning("trouble")
    logging.getLogger("web.server").info("HTTP on")
    logging.getLogger("weir.log.kafka.record_limits").info("not known")
    logging.getLogger("weir.log.kafka.record_limits").warning("refused")
    logging.getLogger("weir.rabbitmq.link").info("connected")
    assert kept.lines == [
        "faust.tables.recovery: trouble",
        "web.server: HTTP on",
        "weir.log.kafka.record_limits: refused",
        "weir.rabbitmq.link: connected",
    ]


def test_an_error_that_a_library_logs_and_raises_is_logged_by_its_catcher_alone(kept: Kept) -> None:
    set_up(logging.INFO)
    logging.getLogger("aiormq.connection").error("error when creating transport")
    logging.getLogger("aio_pika.connection").warning("lost")
    logging.getLogger("weir.rabbitmq.link").warning("trying again")
    assert kept.lines == ["weir.rabbitmq.link: trying again"]


def test_the_wire_is_not_logged_at_debug_because_it_carries_the_sasl_login(kept: Kept) -> None:
    set_up(logging.DEBUG)
    logging.getLogger("aiokafka.conn").debug("SaslAuthenticateRequest s3cret")
    logging.getLogger("aiokafka.client").debug("metadata")
    assert kept.lines == ["aiokafka.client: metadata"]


def test_a_rabbitmq_that_is_away_is_logged_by_weir_alone_unless_an_operator_debugs(kept: Kept) -> None:
    for level, heard in ((logging.INFO, 0), (logging.DEBUG, 1)):
        set_up(level)
        logging.getLogger("aiormq.connection").error("error when creating transport")
        logging.getLogger("aiormq.channel").error("Consumer callback failed")
        assert sum("transport" in line for line in kept.lines) == heard
    assert sum("callback" in line for line in kept.lines) == 2
