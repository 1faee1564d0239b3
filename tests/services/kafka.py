"""A real Kafka: one process that is broker and controller (KRaft), from Maven's jars, without Docker."""

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.services.certificates import make_certificate, make_certificates
from tests.services.process import Broker, ServiceError, free_ports, say

POM = Path(__file__).with_name("kafka-pom.xml")
# The goal with its version: the one that Maven would choose differs from machine to machine.
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
DOWNLOAD_TIMEOUT_S = 600.0
FORMAT_TIMEOUT_S = 60.0
TOOL_TIMEOUT_S = 60.0

SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = ("PLAIN", *SCRAM)
MODULES = "org.apache.kafka.common.security"

# The serial collector and the first compiler only: half the start time, a third of the memory.
JVM_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=INFO"]

# How many copies Kafka keeps of what it writes for itself.
COPIES = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")

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


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A secured listener of a `KafkaBroker`."""

    protocol: str  # SSL, SASL_PLAINTEXT or SASL_SSL
    mechanisms: Sequence[str] = MECHANISMS  # for logging in, if its protocol is SASL
    client_certificates: bool = False  # clients without a certificate are refused
    login_s: float | None = None  # a login lasts so long; then the broker cuts the connection

    @property
    def tls(self) -> bool:
        """Whether the listener encrypts."""
        return self.protocol.endswith("SSL")


@dataclass(frozen=True)
class Membership:
    """The place of a broker in a cluster."""

    node: int
    cluster_id: str
    controllers: Mapping[int, int]  # the ports of all nodes' controllers, by node


class KafkaBroker(Broker):
    """A private Kafka. It always has a plain listener, `bootstrap`.

    Args:
        settings: Broker settings over those for tests.
        listeners: Further listeners; `address` returns their addresses.
        users: Passwords by user name, for all mechanisms.
        membership: The place in a `KafkaCluster`; None is a cluster of one.
        trusted: With it, a user may do only what an ACL allows; these users, and clients without a login, may do all.
    """

    name = "kafka"

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        listeners: Sequence[Listener] = (),
        users: Mapping[str, str] | None = None,
        trusted: Sequence[str] | None = None,
        membership: Membership | None = None,
    ) -> None:
        super().__init__()
        self._settings = settings or {}
        self._users = users or {}
        self._trusted = trusted
        self._port, controller_port, *ports = free_ports(2 + len(listeners))
        self._membership = membership or Membership(1, _new_cluster_id(), {1: controller_port})
        self._secured = dict(zip(listeners, ports, strict=True))
        self.bootstrap = f"127.0.0.1:{self._port}"
        self._properties = self.folder / "server.properties"
        self._jars = ""

    def address(self, listener: Listener) -> str:
        """The address of a listener."""
        return f"127.0.0.1:{self._secured[listener]}"

    def partition(self, topic: str, number: int) -> Path:
        """The folder with the segments of a partition."""
        return self.folder / "data" / f"{topic}-{number}"

    @property
    def ca_file(self) -> Path:
        """The certificate authority that vouches for the broker, if it encrypts."""
        return self.folder / "ca.pem"

    @property
    def client_files(self) -> tuple[Path, Path]:
        """Certificate and key of a client, for listeners that require one."""
        return self.folder / "client.pem", self.folder / "client.key"

    def tool(self, program: str, *arguments: str) -> str:
        """The output of one of Kafka's own programs. Costs two seconds."""
        # Its log lines are ignored.
        command = [java(), *JVM_OPTIONS[:-1], "-Dlog4j2.level=OFF", "-cp", f"{self._jars}/*", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TOOL_TIMEOUT_S)
        if done.returncode:
            raise ServiceError(f"{program} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def set_password(self, user: str, password: str, mechanism: str = SCRAM[1]) -> None:
        """Change a password. Existing connections stay."""
        change = f"{mechanism}=[password={password}]"
        alter = ["--alter", "--entity-type", "users", "--entity-name", user, "--add-config", change]
        self.tool("kafka.admin.ConfigCommand", "--bootstrap-server", self.bootstrap, *alter)

    def allow(self, user: str, *arguments: str) -> None:
        """Add an ACL, with the arguments of kafka-acls."""
        allow = ["--add", "--allow-principal", f"User:{user}", *arguments]
        self.tool("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.bootstrap, *allow)

    def client_properties(self, listener: Listener, user: str, mechanism: str = SCRAM[1]) -> Path:
        """A file with which Kafka's own programs log in at a listener (``--command-config``)."""
        module = f"{MODULES}.plain.PlainLoginModule" if mechanism == "PLAIN" else f"{MODULES}.scram.ScramLoginModule"
        properties = {
            "security.protocol": listener.protocol,
            "sasl.mechanism": mechanism,
            "sasl.jaas.config": f'{module} required username="{user}" password="{self._users[user]}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
        }
        path = self.folder / "client.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    def _prepare(self) -> None:
        self._jars = str(self._fetched())
        properties = {**self._base(), **self._security(), **SETTINGS_FOR_TESTS, **self._settings}
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        cluster_id = self._membership.cluster_id
        command = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties)]
        for user, password in self._users.items():
            for mechanism in SCRAM:
                command += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
        self._run([*self._java(), *command], "formatting Kafka's storage", FORMAT_TIMEOUT_S)

    def _java(self) -> list[str]:
        return [java(), *JVM_OPTIONS, "-cp", f"{self._jars}/*"]

    def _base(self) -> dict[str, str]:
        ports = {"PLAINTEXT": self._port, **{_name(one): port for one, port in self._secured.items()}}
        protocols = {"PLAINTEXT": "PLAINTEXT", **{_name(one): one.protocol for one in self._secured}}
        public = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
        node, controllers = self._membership.node, self._membership.controllers
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{one}@127.0.0.1:{port}" for one, port in controllers.items()),
            "controller.listener.names": "CONTROLLER",
            # Kafka assumes this map only as long as no listener asks for security.
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{name}:{protocol}" for name, protocol in protocols.items())]
            ),
            "listeners": f"{public},CONTROLLER://127.0.0.1:{controllers[node]}",
            "advertised.listeners": public,
            "log.dirs": str(self.folder / "data"),
        }

    def _security(self) -> dict[str, str]:
        properties: dict[str, str] = {}
        for listener in self._secured:
            properties |= {f"listener.name.{_name(listener).lower()}.{key}": v for key, v in self._ways(listener)}
        if any(listener.tls for listener in self._secured):
            self._make_certificates()
            files = {"keystore": self.folder / "keystore.pem", "truststore": self.ca_file}
            for store, path in files.items():
                properties |= {f"ssl.{store}.type": "PEM", f"ssl.{store}.location": str(path)}
        if self._trusted is not None:
            properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            properties["super.users"] = ";".join(f"User:{user}" for user in ("ANONYMOUS", *self._trusted))
        return properties

    def _ways(self, listener: Listener) -> Iterator[tuple[str, str]]:
        """The settings of one listener."""
        if listener.protocol.startswith("SASL"):
            yield "sasl.enabled.mechanisms", ",".join(listener.mechanisms)
            users = " ".join(f'user_{user}="{password}"' for user, password in self._users.items())
            yield "plain.sasl.jaas.config", f"{MODULES}.plain.PlainLoginModule required {users};"
            for mechanism in SCRAM:
                yield f"{mechanism.lower()}.sasl.jaas.config", f"{MODULES}.scram.ScramLoginModule required;"
        if listener.client_certificates:
            yield "ssl.client.auth", "required"
        if listener.login_s is not None:
            yield "connections.max.reauth.ms", str(int(listener.login_s * 1000))

    def _make_certificates(self) -> None:
        make_certificates(self.folder)
        make_certificate(self.folder, "client", subject="/CN=weir")
        parts = [(self.folder / f"server.{part}").read_text() for part in ("key", "pem")]
        (self.folder / "keystore.pem").write_text("".join(parts))

    def _launch_all(self) -> None:
        self._launch([*self._java(), "kafka.Kafka", str(self._properties)])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return broker_count(self._port) > 0
        return False

    def _fetched(self) -> Path:
        """The folder with Kafka's jars, fetched by Maven the first time."""
        cache = Path(os.environ.get("WEIR_CACHE") or Path.home() / ".cache" / "weir")
        # Named after what it was made from: another version is another folder.
        target = cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
        if target.is_dir():
            return target
        maven = shutil.which("mvn")
        if maven is None:
            raise ServiceError("Maven (mvn) is needed once to fetch Kafka; `make system` installs it")
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
                # another run was faster; its folder is as good
                if not target.is_dir():
                    raise
        return target


class KafkaCluster:
    """Several brokers, each a controller as well: the answer of one is the answer of any."""

    def __init__(self, size: int = 3) -> None:
        controllers = dict(enumerate(free_ports(size), start=1))
        cluster_id, copies = _new_cluster_id(), {name: str(size) for name in COPIES}
        self.brokers = [
            KafkaBroker(settings=copies, membership=Membership(node, cluster_id, controllers)) for node in controllers
        ]

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> None:
        """Start the brokers that do not run, side by side: a majority of the controllers must meet."""
        with ThreadPoolExecutor(max_workers=len(self.brokers)) as pool:
            for started in [pool.submit(broker.start) for broker in self.brokers]:
                started.result()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all brokers for good."""
        for broker in self.brokers:
            broker.close()


def _new_cluster_id() -> str:
    """16 bytes in base64; random alone might begin with "-" and look like an option."""
    return base64.urlsafe_b64encode(b"weir" + secrets.token_bytes(12)).decode().rstrip("=")


def _name(listener: Listener) -> str:
    """The broker's name for a listener: no two are the same."""
    extras = [
        ("FEW", listener.mechanisms != MECHANISMS),
        ("MUTUAL", listener.client_certificates),
        ("SHORT", listener.login_s is not None),
    ]
    return "_".join([listener.protocol, *(extra for extra, has in extras if has)])


def java() -> str:
    """The Java to run Kafka with; its log says when it is too old."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise ServiceError("Kafka needs Java 17 or later; `make system` installs it")
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
