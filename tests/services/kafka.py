"""A real Kafka: one process that is broker and controller (KRaft), from Maven's jars, without Docker."""

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.services.process import Broker, ServiceError, free_ports, say

POM = Path(__file__).with_name("kafka-pom.xml")
# The goal with its version: the one that Maven would choose differs from machine to machine.
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
DOWNLOAD_TIMEOUT_S = 600.0
FORMAT_TIMEOUT_S = 60.0

# The serial collector and the first compiler only: half the start time, a third of the memory.
JVM_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO"]

SETTINGS_FOR_TESTS: Mapping[str, str] = {
    # One broker cannot hold three copies.
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    # Internal topics come into being on first use; 50 partitions each would take a second.
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A group starts with its first member, and a test may give a member up for dead after a second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A topic that a test has forgotten to create is an error, not a topic with defaults.
    "auto.create.topics.enable": "false",
    # Retention and compaction can be watched.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "log.cleaner.backoff.ms": "1000",
    # After kill() the controller refuses the same broker id until the old one's session has expired.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}


class KafkaBroker(Broker):
    """A private Kafka.

    Args:
        settings: Broker settings over those for tests.
        scram_users: Passwords by user name. With it, there is a second listener, `sasl_bootstrap`, which wants
            SASL_PLAINTEXT with SCRAM-SHA-256.
    """

    name = "kafka"

    def __init__(self, settings: Mapping[str, str] | None = None, scram_users: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = settings or {}
        self._scram_users = scram_users or {}
        self._port, self._controller_port, self._sasl_port = free_ports(3)
        self.bootstrap = f"127.0.0.1:{self._port}"
        self.sasl_bootstrap = f"127.0.0.1:{self._sasl_port}" if scram_users else None
        self._properties = self.folder / "server.properties"
        self._java: list[str] = []

    def _prepare(self) -> None:
        self._java = [java(), *JVM_OPTIONS, "-cp", f"{self._jars()}/*"]
        properties = {**self._listeners(), **SETTINGS_FOR_TESTS, **self._settings}
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        # A cluster id is 16 bytes in base64; random alone might begin with "-" and look like an option.
        cluster_id = base64.urlsafe_b64encode(b"weir" + secrets.token_bytes(12)).decode().rstrip("=")
        command = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties)]
        for user, password in self._scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]"]
        self._run([*self._java, *command], "formatting Kafka's storage", FORMAT_TIMEOUT_S)

    def _listeners(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self._port}
        if self._scram_users:
            listeners["SASL_PLAINTEXT"] = self._sasl_port
        public = ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
        controller = f"127.0.0.1:{self._controller_port}"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            # Kafka assumes this map only as long as no listener asks for security.
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
            ),
            "listeners": f"{public},CONTROLLER://{controller}",
            "advertised.listeners": public,
            "log.dirs": str(self.folder / "data"),
            "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": login,
        }

    def _launch_all(self) -> None:
        self._launch([*self._java, "kafka.Kafka", str(self._properties)])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return broker_count(self._port) > 0
        return False

    def _jars(self) -> Path:
        """The folder with Kafka's jars, fetched by Maven the first time."""
        cache = Path(os.environ.get("WEIR_CACHE") or Path.home() / ".cache" / "weir")
        # Named after what it was made from: another version is another folder.
        target = cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
        if target.is_dir():
            return target
        maven = shutil.which("mvn")
        if maven is None:
            raise ServiceError("Maven (mvn) is needed once to fetch Kafka; on Debian it is the package maven")
        say("downloading kafka (about 46 MB, once) …")
        cache.mkdir(parents=True, exist_ok=True)
        # Only a complete download gets the name, by one rename.
        with tempfile.TemporaryDirectory(prefix="downloading-", dir=cache) as unfinished:
            jars = Path(unfinished) / "jars"
            options = ["-q", "-B", "-f", str(POM), "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            self._run([maven, *options, COPY_DEPENDENCIES], "downloading Kafka", DOWNLOAD_TIMEOUT_S)
            try:
                jars.rename(target)
            except OSError:
                # A run beside us was faster; what it put there is as good as ours.
                if not target.is_dir():
                    raise
        return target


def java() -> str:
    """The Java to run Kafka with; it says itself, in the log, when it is too old."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise ServiceError("Kafka needs Java 17 or later; on Debian it is the package default-jre-headless")
    return found


def broker_count(port: int, timeout_s: float = 2.0) -> int:
    """How many brokers serve clients, according to the one on this port.

    One Metadata request (key 3, version 4, for no topics), by hand: a client library would be asynchronous, and these
    brokers are restarted from inside tests whose event loop already runs. A broker that still recovers its log or is
    fenced listens, but does not list itself.
    """
    request = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ib", 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as response:
            header = response.read(16)
    if len(header) < 16:
        return 0
    _size_bytes, _correlation, _throttle_ms, brokers = struct.unpack(">iiii", header)
    return int(brokers)
