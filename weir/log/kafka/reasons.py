"""Explains why Kafka refuses a connection, in one line that names the setting to look at.

aiokafka logs why a broker could not be reached and raises "Unable to bootstrap". And where the two ends do not agree on
the protocol, there is nothing to log: a TLS listener hangs up on plain text, a plain one hangs up on TLS, and a
listener that wants a login hangs up on everything else. A broker that restarts looks just the same.

So `try_broker` connects to one broker as any client does. If the broker hangs up, it asks what the listener speaks: one
request, `SaslHandshake` for a mechanism that does not exist, is answered by every listener before any login, in plain
text or inside TLS, and the answer lists the mechanisms, or says that the listener has no login. No secret is sent.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from weir.log.kafka.errors import log_error
from weir.log.kafka.security import KafkaSecurity
from weir.log.log import LogError, LogRefusedError

__all__ = ["Broker", "reach", "refusal", "try_broker"]

NO_MECHANISM: Final = "NONE"
_OTHER_NAME: Final = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH
_OTHER_TIME: Final = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, …_HAS_EXPIRED


class Broker(NamedTuple):
    """The address at which a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _Offer(NamedTuple):
    """The protocol that a listener speaks."""

    tls: bool
    # empty without a login; None where the listener asks for a client certificate before it says so
    mechanisms: Sequence[str] | None

    def __str__(self) -> str:
        if self.mechanisms is None:
            return "SSL or SASL_SSL, with a client certificate"
        return ("SASL_" if self.mechanisms else "") + ("SSL" if self.tls else "PLAINTEXT")


async def reach(servers: str, security: KafkaSecurity, *, client_id: str, limit_s: float) -> list[Broker]:
    """Reach any of the servers, whichever answers first, and ask for the addresses of all brokers.

    Raises:
        LogRefusedError: every server refuses the connection, and the reason of one of them is known.
        LogUnavailableError: no server can be reached.
    """
    tries = [
        asyncio.create_task(try_broker(Broker(host, port), security, client_id=client_id, limit_s=limit_s))
        for host, port, _ in collect_hosts(servers, randomize=False)
    ]
    failures: list[LogError] = []
    try:
        for attempt in asyncio.as_completed(tries):
            try:
                return await attempt
            except LogError as error:
                failures.append(error)
    finally:
        for one in tries:
            one.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    raise next((error for error in failures if isinstance(error, LogRefusedError)), failures[0])


async def try_broker(broker: Broker, security: KafkaSecurity, *, client_id: str, limit_s: float) -> list[Broker]:
    """Connect, log in, and ask for the addresses of all brokers.

    Returns:
        The brokers' addresses, as this broker gives them to its clients.

    Raises:
        LogRefusedError: the broker is there, and a setting must be corrected.
        LogUnavailableError: the broker is not there, or not yet.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await _brokers(broker, security, client_id, limit_s)
    except (KafkaError, OSError, TimeoutError) as error:
        failure = refusal(error, str(broker), security) or log_error(error, f"connect to Kafka at {broker}")
        vague = _is_vague(error)
    if vague:
        # away, or no Kafka: the first error is all that is known
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(limit_s):
                offer = await _offer(broker, client_id, limit_s)
            failure = _disagreement(offer, broker, security) or failure
    raise failure


async def _brokers(broker: Broker, security: KafkaSecurity, client_id: str, limit_s: float) -> list[Broker]:
    options = security.client_options() | {"client_id": client_id, "request_timeout_ms": int(limit_s * 1000)}
    connection = await create_conn(broker.host, broker.port, **options)
    try:
        known = await connection.send(MetadataRequest([]))
    finally:
        connection.close()
    return [Broker(host, port) for _, host, port, *_ in known.brokers]


# -- refusals


def refusal(error: BaseException, broker: str, security: KafkaSecurity) -> LogError | None:
    """The refusal that a connection error stands for; None for any other error."""
    for cause in _causes(error):
        if text := _text(cause, security):
            return LogRefusedError(security.hide(f"Kafka at {broker} {text}"))
    return None


def _text(error: BaseException, security: KafkaSecurity) -> str | None:
    asked = f"KAFKA_SECURITY_PROTOCOL={security.security_protocol}"
    if isinstance(error, SaslAuthenticationFailed):
        answer = " ".join(str(error.args[0] if error.args else "").split())[:200].rstrip(".")
        return (
            f"does not let in KAFKA_SASL_USERNAME={security.sasl_username}: it does not know this user, or not with "
            f"this KAFKA_SASL_PASSWORD or KAFKA_SASL_MECHANISM={security.sasl_mechanism} (it says: {answer})"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"does not offer KAFKA_SASL_MECHANISM={security.sasl_mechanism}"
    if isinstance(error, IllegalSaslStateError):
        return f"asks for no login, but {asked} does"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted ({error.verify_message.rstrip('.')}): look at {_mend(error)}"
    if _alert(error):
        wanted = "does not accept Weir's certificate" if security.tls_certfile else "wants a client certificate"
        return f"{wanted}: look at KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE"
    return None


def _mend(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_NAME:
        return "the names in it, and at those in KAFKA_BOOTSTRAP_SERVERS and in the broker's advertised.listeners"
    return "KAFKA_SSL_CAFILE" if error.verify_code not in _OTHER_TIME else "its dates, and at the clocks"


def _alert(error: BaseException) -> bool:
    """Whether TLS ended because the broker rejected the client certificate, or asked for one that was not given."""
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return (
        bool(reason) and "ALERT" in str(reason) and any(word in str(reason) for word in ("CERTIFICATE", "UNKNOWN_CA"))
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# -- two ends that speak different protocols


def _is_vague(error: BaseException) -> bool:
    """Whether an established connection was cut or failed, so that the listener's offer may explain why."""
    if isinstance(error, ConnectionRefusedError | ssl.SSLCertVerificationError):
        return False
    cut = (KafkaConnectionError, ConnectionError, ssl.SSLError)
    return isinstance(error, (*cut, UnsupportedSaslMechanismError, IllegalSaslStateError))


def _disagreement(offer: _Offer, broker: Broker, security: KafkaSecurity) -> LogError | None:
    protocol, mechanisms = security.security_protocol, offer.mechanisms
    if offer.tls != security.tls or (mechanisms is not None and bool(mechanisms) != security.sasl):
        return LogRefusedError(f"Kafka at {broker} speaks {offer}: KAFKA_SECURITY_PROTOCOL={protocol} does not fit")
    if security.sasl and mechanisms and security.sasl_mechanism not in mechanisms:
        return LogRefusedError(
            f"Kafka at {broker} does not offer KAFKA_SASL_MECHANISM={security.sasl_mechanism}, only "
            f"{', '.join(sorted(mechanisms))}"
        )
    if mechanisms is None and not security.tls_certfile:
        return LogRefusedError(f"Kafka at {broker} {_text(_no_certificate(), security)}")
    return None


async def _offer(broker: Broker, client_id: str, limit_s: float) -> _Offer:
    """The protocol of the listener; plain text is tried first."""
    with contextlib.suppress(KafkaError, ConnectionError):
        return _Offer(tls=False, mechanisms=await _mechanisms(broker, client_id, limit_s, None))
    curious = ssl.create_default_context()
    # for this question only; no credentials are sent over it
    curious.check_hostname, curious.verify_mode = False, ssl.CERT_NONE
    try:
        return _Offer(tls=True, mechanisms=await _mechanisms(broker, client_id, limit_s, curious))
    except KafkaConnectionError:
        # the TLS handshake had succeeded: the broker ends the connection for want of a certificate
        return _Offer(tls=True, mechanisms=None)


async def _mechanisms(broker: Broker, client_id: str, limit_s: float, tls: ssl.SSLContext | None) -> Sequence[str]:
    connection = await create_conn(
        broker.host,
        broker.port,
        client_id=client_id,
        request_timeout_ms=int(limit_s * 1000),
        security_protocol="SSL" if tls else "PLAINTEXT",
        ssl_context=tls,
    )
    try:
        answer = await connection.send(SaslHandShakeRequest(NO_MECHANISM))
    finally:
        connection.close()
    mechanisms: Sequence[str] = answer.enabled_mechanisms
    return mechanisms


def _no_certificate() -> ssl.SSLError:
    error = ssl.SSLError()
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    return error
