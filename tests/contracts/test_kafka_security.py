"""One description of a secured Kafka, in aiokafka's words and in Faust's; and what wrong credentials look like."""

from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from tests.services.kafka import KafkaBroker
from transports.kafka.client import KafkaLog
from transports.kafka.security import KafkaSecurity
from transports.log import LogRefusedError, TopicSpec

SCRAM = KafkaSecurity(
    security_protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-256", sasl_username="weir", sasl_password="secret"
)


@pytest.fixture(scope="module")
def secured() -> Iterator[KafkaBroker]:
    with KafkaBroker(scram_users={"weir": "secret"}) as broker:
        yield broker


def address(broker: KafkaBroker) -> str:
    assert broker.sasl_bootstrap is not None
    return broker.sasl_bootstrap


@pytest.mark.kafka
async def test_the_log_client_logs_in(secured: KafkaBroker) -> None:
    log = KafkaLog(address(secured), security=SCRAM)
    await log.start()
    await log.create_topics([TopicSpec(name="t", partitions=1)], replication=1)
    assert await log.append("t", 0, None, b"v") == 0
    await log.stop()


@pytest.mark.kafka
async def test_what_faust_is_given_logs_in_too(secured: KafkaBroker) -> None:
    options = credentials_to_aiokafka_auth(SCRAM.broker_credentials())
    producer = AIOKafkaProducer(bootstrap_servers=address(secured), **options)
    await producer.start()
    await producer.stop()


@pytest.mark.kafka
async def test_a_wrong_password_is_refused_and_not_told(secured: KafkaBroker) -> None:
    wrong = KafkaSecurity(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-256", sasl_username="weir", sasl_password="wr0ng"
    )
    log = KafkaLog(address(secured), security=wrong, request_timeout_s=5)
    with pytest.raises(LogRefusedError, match="authentication") as raised:
        await log.start()
    assert "wr0ng" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SCRAM)
    assert "secret" not in repr(SCRAM.broker_credentials())


def test_a_plain_connection_needs_nothing() -> None:
    assert KafkaSecurity().broker_credentials() is None
    assert KafkaSecurity().client_options() == {"security_protocol": "PLAINTEXT", "ssl_context": None}


def test_tls_alone_and_tls_with_a_password() -> None:
    tls = KafkaSecurity(security_protocol="SSL", tls_check_hostname=False)
    assert isinstance(tls.broker_credentials(), SSLCredentials)
    assert tls.client_options()["ssl_context"] is tls.ssl_context
    assert tls.ssl_context is not None
    assert not tls.ssl_context.check_hostname
    both = KafkaSecurity(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_username="weir", sasl_password="secret"
    )
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
    ],
)
def test_what_contradicts_itself_is_an_error(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KafkaSecurity(**wrong)  # type: ignore[arg-type]
