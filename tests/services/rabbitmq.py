"""A real RabbitMQ: Debian's, as our own child process, without the system's service or its files."""

import os
import shutil
import socket
import time
from pathlib import Path

import pika
import pika.exceptions

from tests.services.process import Broker, ServiceError, free_ports, say

# Debian puts a wrapper on the PATH that insists on root and changes to the user rabbitmq; this is the script behind it.
DEBIAN_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
INSTALL_TIMEOUT_S = 600.0
EPMD_TIMEOUT_S = 10.0

CONFIGURATION = """\
listeners.tcp.default = 127.0.0.1:{port}
log.console = true
log.console.level = info
log.file = false
"""


class RabbitBroker(Broker):
    """A private RabbitMQ, and the port mapper (epmd) that it needs.

    Left to itself, RabbitMQ would start an epmd on a fixed port that outlives it. A foreground epmd of our own, on a
    port of its own, ends with us and is not in the way of anybody else's.
    """

    name = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self.port, self._distribution_port, self._epmd_port = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._script = self._epmd = ""

    def _prepare(self) -> None:
        if find_rabbitmq() is None:
            self._install()
        script, epmd = find_rabbitmq(), shutil.which("epmd")
        if script is None or epmd is None:
            raise ServiceError("rabbitmq-server or Erlang's epmd is missing, although RabbitMQ is installed")
        self._script, self._epmd = script, epmd
        (self.folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "env.conf").touch()
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text("weir-tests")
        cookie.chmod(0o400)  # Erlang refuses a cookie that others can read

    def _install(self) -> None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise ServiceError("rabbitmq-server is missing; on Debian: apt-get install rabbitmq-server")
        say("installing rabbitmq …")
        # Interrupting us leaves apt-get to finish: a package that is half configured would be worse.
        install = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install"
        self._run(["sh", "-c", f"{install} rabbitmq-server"], "installing rabbitmq-server", INSTALL_TIMEOUT_S)

    def _environment(self) -> dict[str, str]:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))
        }
        return inherited | {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": "weir@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # The script then becomes the server instead of staying above it: our pid is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _launch_all(self) -> None:
        environment = self._environment()
        epmd = self._launch([self._epmd], environment)
        # RabbitMQ would start one itself, for good, if it found none.
        deadline = time.monotonic() + EPMD_TIMEOUT_S
        while not is_open(self._epmd_port):
            if epmd.poll() is not None or time.monotonic() > deadline:
                raise self._failure("epmd does not start")
            time.sleep(0.01)
        self._launch([self._script], environment)

    def _answers(self) -> bool:
        # First the port alone: pika logs an error for each refusal.
        if not is_open(self.port):
            return False
        try:
            connection = pika.BlockingConnection(pika.URLParameters(self.url))
        except (pika.exceptions.AMQPError, OSError):
            return False
        connection.close()
        return True


def find_rabbitmq() -> str | None:
    """The server's start script."""
    if DEBIAN_SCRIPT.is_file():
        return str(DEBIAN_SCRIPT)
    # Outside Debian; the folders for the administrator's programs are often not on a user's PATH.
    return shutil.which("rabbitmq-server", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
