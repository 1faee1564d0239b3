"""How to talk to a secured Kafka: one description, in the words of aiokafka and in the words of Faust."""

import ssl
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
    """Encryption and credentials of a Kafka connection. The default is neither.

    Raises:
        ValueError: parts are missing or contradict each other.
        OSError: a certificate file cannot be read.
    """

    security_protocol: Protocol = "PLAINTEXT"
    sasl_mechanism: Mechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    tls_cafile: str | None = None  # PEM of the authorities to trust; None trusts the system's
    tls_certfile: str | None = None  # PEM of our own certificate, for mutual TLS
    tls_keyfile: str | None = None  # PEM of its key; None if tls_certfile holds it
    tls_keyfile_password: str | None = field(default=None, repr=False)
    tls_check_hostname: bool = True  # off only where the broker's certificate names another host

    def __post_init__(self) -> None:
        if self.sasl and not (self.sasl_username and self.sasl_password):
            raise ValueError(f"{self.security_protocol} needs a user name and a password")
        if not self.sasl and (self.sasl_username or self.sasl_password):
            raise ValueError(f"a user name or password is given, but {self.security_protocol} sends none")
        if not self.tls and (self.tls_cafile or self.tls_certfile):
            raise ValueError(f"TLS files are given, but {self.security_protocol} does not encrypt")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether we log in with a name and a password."""
        return self.security_protocol.startswith("SASL")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, made once; None without TLS."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.tls_cafile)
        context.check_hostname = self.tls_check_hostname
        if self.tls_certfile:
            context.load_cert_chain(self.tls_certfile, self.tls_keyfile, self.tls_keyfile_password)
        return context

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
