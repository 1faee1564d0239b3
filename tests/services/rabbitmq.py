"""A real RabbitMQ: Debian's, as a child process, without the system's service or its files."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pika
import pika.exceptions

from tests.services.certificates import make_certificates
from tests.services.process import Broker, ServiceError, free_ports

# Debian puts a wrapper on the PATH that insists on root and changes to the user rabbitmq; this is the script behind it.
DEBIAN_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
EPMD_TIMEOUT_S = 10.0
CONTROL_TIMEOUT_S = 60.0

CONFIGURATION = """\
listeners.tcp.default = 127.0.0.1:{port}
log.console = true
log.console.level = info
log.file = false
"""
TLS_CONFIGURATION = """\
listeners.ssl.default = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/server.pem
ssl_options.keyfile = {folder}/server.key
ssl_options.verify = verify_none
"""


class RabbitBroker(Broker):
    """A private RabbitMQ, and the port mapper (epmd) that it needs.

    Left to itself, RabbitMQ would start an epmd on a fixed port that outlives it. A foreground epmd, on a port of its
    own, ends with this process and disturbs no other program.

    Args:
        tls: whether there is a second listener, `tls_url`, with a certificate that only `ca_file` vouches for.
    """

    name = "rabbitmq"

    def __init__(self, *, tls: bool = False) -> None:
        super().__init__()
        self.port, self._distribution_port, self._epmd_port, self._tls_port = free_ports(4)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.tls_url = f"amqps://guest:guest@127.0.0.1:{self._tls_port}/" if tls else None
        self.ca_file = self.folder / "ca.pem"
        self._script = self._epmd = ""

    def _prepare(self) -> None:
        script, epmd = find_rabbitmq(), shutil.which("epmd")
        if script is None or epmd is None:
            raise ServiceError("rabbitmq-server or Erlang's epmd is missing; `make system` installs them")
        self._script, self._epmd = script, epmd
        configuration = CONFIGURATION.format(port=self.port)
        if self.tls_url is not None:
            make_certificates(self.folder)
            configuration += TLS_CONFIGURATION.format(port=self._tls_port, folder=self.folder)
        (self.folder / "rabbitmq.conf").write_text(configuration)
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "env.conf").touch()
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text("weir-tests")
        cookie.chmod(0o400)  # Erlang refuses a cookie that others can read

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

    def ask(self, what: str, *columns: str) -> list[dict[str, Any]]:
        """The rows of `rabbitmqctl list_{what}`. A call costs half a second of a core."""
        control = Path(self._script).with_name("rabbitmqctl")
        command = [str(control), "--quiet", "--formatter", "json", f"list_{what}", *columns]
        try:
            asked = subprocess.run(
                command, env=self._environment(), capture_output=True, check=True, timeout=CONTROL_TIMEOUT_S
            )
        except subprocess.SubprocessError as error:
            raise self._failure(f"rabbitmqctl list_{what}: {error}, {getattr(error, 'stderr', None)!r}") from error
        rows: list[dict[str, Any]] = json.loads(asked.stdout)
        return rows

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
    """Whether a port has a listener."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
