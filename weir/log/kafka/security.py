"""Describes how to connect to a secured Kafka, and gives the description to aiokafka and to Faust."""

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

__all__ = ["KafkaSecurity"]

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, kw_only=True)
class KafkaSecurity:
    """Encryption and credentials of a Kafka connection. By default there is neither.

    Files are read when they are first needed; `ssl_context` does that.

    Raises:
        ValueError: settings are missing or contradict each other, or a file cannot be used. The message is one line.
    """

    security_protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: Mechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    tls_cafile: str | None = None  # PEM of the authorities to trust; None trusts the system's
    tls_certfile: str | None = None  # PEM of the client's own certificate, for mutual TLS
    tls_keyfile: str | None = None  # PEM of its key; None if tls_certfile holds it
    tls_keyfile_password: str | None = field(default=None, repr=False)
    tls_check_hostname: bool = True  # off only where the broker's certificate names another host

    def __post_init__(self) -> None:
        if self.sasl and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs a user name and a password")
        if not self.sasl and (self.sasl_username or self.sasl_password):
            raise ValueError(f"a user name or password is given, but {self.security_protocol} sends none")
        if not self.tls and (self.tls_cafile or self.tls_certfile or self.tls_keyfile):
            raise ValueError(f"TLS files are given, but {self.security_protocol} does not encrypt")
        if self.tls_keyfile and not self.tls_certfile:
            raise ValueError(
                "KAFKA_SSL_KEYFILE is given, but no certificate (KAFKA_SSL_CERTFILE) that it is the key of"
            )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether the client logs in with a name and a password."""
        return self.security_protocol.startswith("SASL")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, made once; None without TLS."""
        if not self.tls:
            return None
        with _readable(f"KAFKA_SSL_CAFILE={self.tls_cafile} holds no certificates in PEM"):
            context = ssl.create_default_context(cafile=self.tls_cafile)
        context.check_hostname = self.tls_check_hostname
        if self.tls_certfile:
            files = f"KAFKA_SSL_CERTFILE={self.tls_certfile}, KAFKA_SSL_KEYFILE={self.tls_keyfile or self.tls_certfile}"
            with _readable(f"{files} are no certificate and its key in PEM, without a passphrase"):
                # Given no passphrase at all, OpenSSL asks for one in the terminal, and the start hangs.
                context.load_cert_chain(self.tls_certfile, self.tls_keyfile, self.tls_keyfile_password or "")
        return context

    def hide(self, text: str) -> str:
        """The text without secrets, should it hold one: a broker may repeat any part of a request in its answer."""
        for secret in (self.sasl_password, self.tls_keyfile_password):
            text = text.replace(secret, "(hidden)") if secret else text
        return text

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments for any aiokafka client, producer, consumer or admin."""
        options: dict[str, Any] = {"security_protocol": self.security_protocol, "ssl_context": self.ssl_context}
        if self.sasl:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "KafkaSecurity":
        """The settings that `client_options` was made from, without the files, which a TLS context does not show."""
        if not options.get("sasl_plain_username"):
            return cls(security_protocol="SSL" if options.get("ssl_context") else "PLAINTEXT")
        return cls(
            security_protocol=options["security_protocol"],
            sasl_mechanism=options["sasl_mechanism"],
            sasl_username=options["sasl_plain_username"],
            sasl_password=options["sasl_plain_password"],
        )

    def broker_credentials(self) -> CredentialsT | None:
        """The ``broker_credentials`` argument of ``faust.App``; None for a plain connection."""
        if self.sasl:
            return SASLCredentials(
                username=self.sasl_username,
                password=self.sasl_password,
                ssl_context=self.ssl_context,
                mechanism=self.sasl_mechanism,
            )
        if self.ssl_context is not None:
            return SSLCredentials(self.ssl_context)
        return None


@contextlib.contextmanager
def _readable(otherwise: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{otherwise} ({error.strerror or error})") from None
