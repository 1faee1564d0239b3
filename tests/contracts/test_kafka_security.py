"""A secured Kafka: each protocol works for everything that a worker does, and a refusal says why."""

import asyncio
import logging
import secrets
import subprocess
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from tests.contracts.engines import Kafka, Worker
from tests.contracts.logs import Collected, until
from tests.services.certificates import make_authority
from tests.services.kafka import MECHANISMS, KafkaBroker, Listener
from weir.log.kafka import logins
from weir.log.kafka.client import KafkaLog
from weir.log.kafka.security import KafkaSecurity
from weir.log.log import LogRefusedError, LogUnavailableError, Partition, TopicSpec

GOODBYE_S = 0.2
TLS = Listener(protocol="SSL")
MUTUAL_TLS = Listener(protocol="SSL", client_certificates=True)
SASL = Listener(protocol="SASL_PLAINTEXT")
SASL_TLS = Listener(protocol="SASL_SSL")
FEW = Listener(protocol="SASL_PLAINTEXT", mechanisms=("SCRAM-SHA-256",))
PLAIN = Listener(protocol="PLAINTEXT")  # every broker has it
WAYS = [
    (TLS, None),
    (MUTUAL_TLS, None),
    *((listener, mechanism) for listener in (SASL, SASL_TLS) for mechanism in MECHANISMS),
]
USERS = {"weir": secrets.token_urlsafe(12), "guest": secrets.token_urlsafe(12)}
WRONG = secrets.token_urlsafe(12)

pytestmark = [
    # Warnings of Faust 0.15.3 and its dependencies on Python 3.11; none is about Weir's code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaBroker]:
    listeners = (TLS, MUTUAL_TLS, SASL, SASL_TLS, FEW)
    with KafkaBroker(listeners=listeners, users=USERS, trusted=("weir", "CN=weir")) as broker:
        make_authority(broker.folder, "stranger")
        yield broker


def address(broker: KafkaBroker, listener: Listener) -> str:
    return broker.bootstrap if listener is PLAIN else broker.address(listener)


def security(
    broker: KafkaBroker, listener: Listener, mechanism: str | None = "SCRAM-SHA-512", user: str = "weir", **more: Any
) -> KafkaSecurity:
    options: dict[str, Any] = {"security_protocol": listener.protocol}
    if listener.protocol.startswith("SASL"):
        options |= {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": USERS.get(user, WRONG)}
    if listener.tls:
        options["tls_cafile"] = str(broker.ca_file)
    if listener.client_certificates:
        options["tls_certfile"], options["tls_keyfile"] = map(str, broker.client_files)
    return KafkaSecurity(**options | more)


# -- the protocols


@pytest.fixture(autouse=True)
async def goodbyes() -> AsyncIterator[None]:
    """Keep the loop until TLS connections have said goodbye to the other side, which they do before they close."""
    yield
    await asyncio.sleep(GOODBYE_S)


@pytest.mark.kafka
@pytest.mark.parametrize(("listener", "mechanism"), WAYS, ids=lambda one: getattr(one, "protocol", one))
async def test_each_way_in_is_good_for_all_that_a_worker_does(
    secured: KafkaBroker, tmp_path: Path, listener: Listener, mechanism: str | None
) -> None:
    """Topics, appends, a feed, bounds; the group, a table with its changelog, commits, an admin's questions."""
    stage = Kafka(secured.address(listener), tmp_path, security=security(secured, listener, mechanism))
    await stage.open()
    collected = Collected()
    await stage.log.follow(Partition(stage.topic, 0), 0, collected)
    async with Worker(stage, writes=True, acks=True).running() as worker:
        await stage.write(b"1", b"2")
        assert await worker.receive(2) == [b"1", b"2"]
        await stage.commits(2)
        assert [change.value for change in await stage.changes(0)] == [b"1", b"2"]
    await collected.reach(Partition(stage.topic, 0), 1)
    assert (await stage.log.bounds(Partition(stage.topic, 0))).end == 2
    await stage.close()


# -- refusals

STRANGER = {"tls_certfile": "stranger.pem", "tls_keyfile": "stranger.key"}
REFUSALS: dict[str, tuple[Listener, Listener, dict[str, Any], str]] = {
    # listener, client's protocol, changed settings, expected message
    "a wrong password": (SASL_TLS, SASL_TLS, {"sasl_password": WRONG}, "KAFKA_SASL_USERNAME=weir.*KAFKA_SASL_PASSWORD"),
    "a wrong password, sent as it is": (
        SASL,
        SASL,
        {"sasl_password": WRONG, "sasl_mechanism": "PLAIN"},
        "KAFKA_SASL_USERNAME=weir.*KAFKA_SASL_PASSWORD",
    ),
    "an unknown user": (
        SASL_TLS,
        SASL_TLS,
        {"sasl_username": "nobody"},
        "KAFKA_SASL_USERNAME=nobody: it does not know",
    ),
    "a CA that did not sign": (TLS, TLS, {"tls_cafile": "stranger.pem"}, "certificate.*KAFKA_SSL_CAFILE"),
    "no CA file": (SASL_TLS, SASL_TLS, {"tls_cafile": None}, "certificate.*KAFKA_SSL_CAFILE"),
    "no client certificate": (MUTUAL_TLS, TLS, {}, "wants a client certificate.*KAFKA_SSL_CERTFILE"),
    "a client certificate of strangers": (MUTUAL_TLS, TLS, STRANGER, "not accept Weir's certificate.*SSL_CERTFILE"),
    "plain text, but it encrypts": (TLS, PLAIN, {}, "speaks SSL: KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
    "plain text, but it encrypts and wants a certificate": (
        MUTUAL_TLS,
        PLAIN,
        {},
        "speaks SSL or SASL_SSL.*KAFKA_SECURITY_PROTOCOL=PLAINTEXT",
    ),
    "a login in plain text, but it encrypts": (
        SASL_TLS,
        SASL,
        {},
        "speaks SASL_SSL: KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
    ),
    "TLS, but it does not encrypt": (PLAIN, TLS, {}, "speaks PLAINTEXT: KAFKA_SECURITY_PROTOCOL=SSL"),
    "a login inside TLS, but it does not encrypt": (
        SASL,
        SASL_TLS,
        {},
        "speaks SASL_PLAINTEXT: KAFKA_SECURITY_PROTOCOL=SASL_SSL",
    ),
    "no login, but it wants one": (SASL, PLAIN, {}, "speaks SASL_PLAINTEXT: KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
    "a login, but it wants none": (TLS, SASL_TLS, {}, "speaks SSL: KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
}


@pytest.mark.kafka
@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refusal_is_one_line_that_names_the_setting(
    secured: KafkaBroker, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    where, listener, more, says = REFUSALS[what]
    more = {
        name: str(secured.folder / value) if str(value).endswith(("pem", "key")) else value
        for name, value in more.items()
    }
    wrong = security(secured, listener, **more)
    log = KafkaLog(address(secured, where), security=wrong, request_timeout_s=15)
    caplog.set_level(logging.DEBUG, "transports")
    with pytest.raises(LogRefusedError, match=says) as raised:
        await log.start()
    assert address(secured, where) in str(raised.value)
    assert "\n" not in str(raised.value)
    lines = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert {*lines} <= {"Sending username and password in the clear"}  # the caller that catches the error logs the rest
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text + repr(wrong) + repr(log)
    assert not [secret for secret in (WRONG, *USERS.values()) if secret in shown]


@pytest.mark.kafka
async def test_a_broker_under_another_name_than_its_certificates_is_refused(secured: KafkaBroker) -> None:
    port = secured.address(TLS).partition(":")[2]
    log = KafkaLog(f"127.1:{port}", security=security(secured, TLS))  # the same host to a resolver, and another name
    with pytest.raises(LogRefusedError, match=r"mismatch.*look at the names in it.*KAFKA_BOOTSTRAP_SERVERS"):
        await log.start()


@pytest.mark.kafka
async def test_a_mechanism_that_is_not_offered_is_named_with_those_that_are(secured: KafkaBroker) -> None:
    log = KafkaLog(secured.address(FEW), security=security(secured, FEW, "PLAIN"))
    with pytest.raises(LogRefusedError, match=r"not offer KAFKA_SASL_MECHANISM=PLAIN, only SCRAM-SHA-256$"):
        await log.start()


@pytest.mark.parametrize("listener", [PLAIN, TLS, SASL, SASL_TLS], ids=lambda listener: listener.protocol)
async def test_a_broker_that_is_not_up_yet_is_no_refusal(
    unused_tcp_port: int, secured: KafkaBroker, listener: Listener
) -> None:
    log = KafkaLog(f"127.0.0.1:{unused_tcp_port}", security=security(secured, listener))
    with pytest.raises(LogUnavailableError, match=str(unused_tcp_port)):
        await log.start()


@pytest.mark.kafka
async def test_of_several_servers_one_is_enough_and_a_refusal_says_more_than_silence(
    unused_tcp_port: int, secured: KafkaBroker
) -> None:
    servers = f"127.0.0.1:{unused_tcp_port},{secured.address(SASL_TLS)}"
    log = KafkaLog(servers, security=security(secured, SASL_TLS))
    await log.start()
    await log.stop()
    log = KafkaLog(servers, security=security(secured, SASL_TLS, sasl_password=WRONG))
    with pytest.raises(LogRefusedError, match="KAFKA_SASL_PASSWORD"):
        await log.start()


# -- missing rights


@pytest.mark.kafka
async def test_a_user_without_rights_is_told_what_is_missing_and_goes_on_when_it_is_granted(
    secured: KafkaBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Kafka(secured.address(SASL_TLS), tmp_path, security=security(secured, SASL_TLS, user="guest"))
    with pytest.raises(LogRefusedError, match="the Kafka user may not write to any topic, an ACL is missing"):
        await stage.open()
    await asyncio.to_thread(secured.allow, "guest", "--topic", "elsewhere", "--operation", "Write")
    with pytest.raises(LogRefusedError, match=f"create topics: the Kafka user may not, an ACL is.*{stage.topic}"):
        await stage.open()
    owner = KafkaLog(secured.bootstrap)
    await owner.start()
    await owner.create_topics([TopicSpec(name=stage.topic, partitions=2)], replication=1)
    with pytest.raises(LogRefusedError, match="an ACL is missing"):
        await stage.log.append(stage.topic, 0, None, b"v")
    with pytest.raises(LogRefusedError, match=r"no topic .* that KAFKA_SASL_USERNAME=guest may see"):
        await stage.log.follow(Partition(stage.topic, 0), 0, Collected())

    topics = ["--topic", stage.name, "--resource-pattern-type", "prefixed"]
    operations = ["--operation", "Create", "--operation", "Read", "--operation", "Write"]
    await asyncio.to_thread(secured.allow, "guest", *topics, *operations)
    await stage.open()
    await stage.write(b"1")
    async with Worker(stage, acks=True).running(ready=False) as worker:
        told = f"cannot take part in the group {stage.name}: the Kafka user may not, an ACL is missing"
        await until(lambda: told in caplog.text, within_s=30)
        await asyncio.sleep(3)  # a few more questions
        assert caplog.text.count(told) == 1
        await asyncio.to_thread(secured.allow, "guest", "--group", stage.name, "--operation", "Read")
        assert await worker.receive(1) == [b"1"]
    await owner.stop()
    await stage.close()


# -- credentials that become wrong


class Clock:
    """The clock of the gates."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.kafka
async def test_logins_that_fail_later_are_tried_and_told_rarely_and_work_again(
    secured: KafkaBroker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten clients that retry all the time make one login every few seconds at the broker, and one line in ten."""
    clock, at = Clock(), secured.address(SASL_TLS)
    monkeypatch.setattr(logins, "time", clock)
    options = security(secured, SASL_TLS, user="guest").client_options()
    tries: list[float] = []
    real, let_in = logins.connect, True

    async def connect(host: str, port: int, **given: Any) -> Any:
        tries.append(clock.now)
        return await real(host, port, **given if let_in else given | {"sasl_plain_password": WRONG})

    async def clients() -> list[BaseException | None]:
        async def one() -> None:
            host, _, port = at.partition(":")
            (await logins._create_conn(host, int(port), **options)).close()

        return list(await asyncio.gather(*(one() for _ in range(10)), return_exceptions=True))

    monkeypatch.setattr(logins, "connect", connect)
    assert await clients() == [None] * 10
    assert not logins.refused()

    let_in = False
    await clients()  # these came together, before the first refusal
    tries.clear()
    start = clock.now
    while clock.now < start + 40:
        clock.now += 0.25
        assert all(isinstance(error, logins.LoginRefusedError) for error in await clients())
        assert logins.refused()
    gaps = [later - earlier for earlier, later in pairwise([start, *tries])]
    assert gaps[:3] == [1, 2, 4]
    assert set(gaps[3:]) == {5}
    lines = [record.getMessage() for record in caplog.records if record.name == logins.__name__]
    assert 3 <= len(lines) <= 5
    assert all("KAFKA_SASL_USERNAME=guest" in line and "\n" not in line for line in lines)
    assert not [secret for secret in (WRONG, *USERS.values()) if secret in caplog.text]

    let_in = True
    clock.now += 5
    assert None in await clients()
    assert await clients() == [None] * 10
    assert not logins.refused()
    assert "accepts connections again" in caplog.text


# -- the description


def scram(**more: Any) -> KafkaSecurity:
    return KafkaSecurity(
        **{
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
            "sasl_username": "weir",
            "sasl_password": WRONG,
            **more,
        }
    )


def test_a_password_is_not_shown() -> None:
    assert WRONG not in repr(scram())
    assert WRONG not in repr(scram().broker_credentials())
    assert scram().hide(f"no user with {WRONG}") == "no user with (hidden)"


def test_a_plain_connection_needs_nothing() -> None:
    assert KafkaSecurity().broker_credentials() is None
    assert KafkaSecurity().client_options() == {"security_protocol": "PLAINTEXT", "ssl_context": None}


def test_tls_alone_and_tls_with_a_password() -> None:
    tls = KafkaSecurity(security_protocol="SSL", tls_check_hostname=False)
    assert isinstance(tls.broker_credentials(), SSLCredentials)
    assert tls.client_options()["ssl_context"] is tls.ssl_context
    assert tls.ssl_context is not None
    assert not tls.ssl_context.check_hostname
    both = scram(security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512")
    credentials = both.broker_credentials()
    assert isinstance(credentials, SASLCredentials)
    assert credentials.ssl_context is both.ssl_context
    assert credentials_to_aiokafka_auth(credentials) == both.client_options()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs a user name"),
        ({"sasl_username": "weir"}, "PLAINTEXT sends none"),
        ({"tls_cafile": "ca.pem"}, "does not encrypt"),
        ({"security_protocol": "SSL", "tls_keyfile": "weir.key"}, "no certificate .KAFKA_SSL_CERTFILE"),
    ],
)
def test_what_contradicts_itself_is_an_error(wrong: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KafkaSecurity(**wrong)


def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path: Path) -> None:
    make_authority(tmp_path, "one")
    make_authority(tmp_path, "other")
    one, other = str(tmp_path / "one.pem"), str(tmp_path / "other.key")
    for files, says in (
        ({"tls_cafile": other}, "KAFKA_SSL_CAFILE=.*other.key holds no certificates"),
        ({"tls_certfile": one, "tls_keyfile": other}, "KAFKA_SSL_CERTFILE=.*one.pem.*KAFKA_SSL_KEYFILE=.*other.key"),
        ({"tls_certfile": one}, "KAFKA_SSL_KEYFILE=.*one.pem"),
    ):
        with pytest.raises(ValueError, match=says):
            _ = KafkaSecurity(security_protocol="SSL", **files).ssl_context  # type: ignore[arg-type]


def test_a_key_with_a_passphrase_is_an_error_and_the_terminal_is_not_asked_for_it(tmp_path: Path) -> None:
    make_authority(tmp_path, "one")
    locked = tmp_path / "locked.key"
    lock = ["openssl", "pkcs8", "-topk8", "-in", str(tmp_path / "one.key"), "-out", str(locked)]
    subprocess.run([*lock, "-passout", f"pass:{WRONG}"], check=True, capture_output=True)
    with pytest.raises(ValueError, match="without a passphrase"):
        _ = KafkaSecurity(
            security_protocol="SSL", tls_certfile=str(tmp_path / "one.pem"), tls_keyfile=str(locked)
        ).ssl_context
