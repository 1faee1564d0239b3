"""The Faust transport ``sqlite://``: one durable log file, one worker, no server.

``faust.App("id", broker="sqlite:///abs/path.db?sync=full")`` finds it by its URL scheme, through the entry point
``faust.transports`` in ``pyproject.toml``. ``sync`` is ``normal`` (survives a killed process; the default) or ``full``
(survives a power cut, too).

How the parts fit together: the `Transport` opens the `LogFile`, which the log client of the same process shares. The
`Producer` puts every send into the file's one queue, table changes included; the `Consumer` reads from memory or file,
is woken by the file's watch, and commits through the same queue, so that offsets can never be durable without the table
changes and sends that came before them. Give Faust ``TableManager=weir.log.recovery.TableManager`` as well, as on
Kafka: Faust's own recovery can hang on short changelogs.
"""

from faust.transport import base

from weir.log.embedded.consumer import Consumer
from weir.log.embedded.file_transport import FileTransport
from weir.log.embedded.producer import Producer


class Conductor(base.Conductor):
    """Subscribes again soon after topics change; Faust waits 45 s to spare a Kafka group its rebalances."""

    _resubscribe_sleep_lock_seconds = 0.1


class Transport(FileTransport):
    """Faust's transport: the file, with the consumer, the producer and the conductor that work on it."""

    Consumer = Consumer
    Producer = Producer
    Conductor = Conductor
