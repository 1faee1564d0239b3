"""Sets up logging: Weir's own progress, and of the libraries only problems to act on, each at most once in a while."""

import logging
import time

from weir.log.kafka.logins import refused

# Loggers that show progress at LOG_LEVEL info. The engine logs every step of a rebalance at that level.
OWN_LOGGERS = ("app", "agents", "web", "weir")

# The log's clients log each step of a recovery, and rights that a worker can do without, at that level, too.
LOG_CLIENTS = "weir.log"

# Their debug lines hold the bytes on the wire: the SASL login, passwords, prompts.
SECRET_LOGGERS = ("aiokafka.conn", "aiormq", "aio_pika")

# They also log each error that they raise, some with a traceback: `weir.rabbitmq.link` logs once that RabbitMQ is
# away.
REPEATING_LOGGERS = ("aiormq.connection", "aio_pika")

REPEAT_S = 10.0  # a repeated message of a library is shown once in so many seconds
REMEMBERED = 1000  # messages remembered; beyond that, all are forgotten


class OnceInAWhile(logging.Filter):
    """Shows a library's message once in ``REPEAT_S``: aiokafka without its broker repeats each 50 times a second."""

    def __init__(self, library: str) -> None:
        super().__init__()
        self._library = library
        self._heard: dict[tuple[str, int, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record."""
        if record.name.partition(".")[0] != self._library:  # aiokafka's client logs as "aiokafka", without a module
            return True
        if refused() and not record.exc_info:  # the refusal is logged already, and other errors follow from it
            return False
        message, now = (record.name, record.lineno, record.msg), time.monotonic()
        if now - self._heard.get(message, -REPEAT_S) < REPEAT_S:
            return False
        if len(self._heard) >= REMEMBERED:
            self._heard.clear()
        self._heard[message] = now
        return True


def set_up(root: logging.Logger, level: int) -> None:
    """Set levels and filters, after Faust has installed its handlers."""
    for name in SECRET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    for name in REPEATING_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL if level > logging.DEBUG else logging.INFO)
    for handler in root.handlers:
        handler.addFilter(OnceInAWhile("aiokafka"))
    # Faust leaves the root at debug and lets the handler choose: every debug line of every library would be formatted.
    root.setLevel(logging.WARNING if level == logging.INFO else level)
    if level == logging.INFO:
        for own in OWN_LOGGERS:
            logging.getLogger(own).setLevel(level)
        logging.getLogger(LOG_CLIENTS).setLevel(logging.WARNING)
