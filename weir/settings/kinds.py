"""The kinds of values that settings take: the allowed values of each, and the form in which they are kept. No I/O.

The message of a ValueError is the part of the error line that names the allowed values.
"""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from weir.lineage.dialects import KNOWN
from weir.options import Redact

OFF = "off"
NONE = "none"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.]+\]")


def _http_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0
    except ValueError:  # its message quotes the URL, and takes a password with a slash for the port
        named = None
    if not named:
        raise ValueError("must be a URL that names a host, and a port if it has one")
    return url.rstrip("/")


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError("a host name or an address, without a port; an IPv6 address in brackets")
    return name


def _bootstrap_servers(servers: str | None) -> str | None:
    if not servers:
        return None
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ValueError("must be host:port, or several separated by commas")
    return ",".join(server.strip() for server in servers.split(","))


def _amqp_urls(urls: SecretStr) -> SecretStr:
    for url in urls.get_secret_value().split(","):
        if not url:
            continue
        try:
            parts = urlsplit(url.strip())
            known = parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError("amqp://user:password@host:port/vhost or amqps://…, or several separated by commas")
    return urls


def _dialect(name: str) -> str:
    if name.lower() not in {*KNOWN, OFF}:
        raise ValueError(f"{OFF}, {', '.join(sorted(KNOWN))}")
    return name.lower()


def _redact(names: str) -> str:
    given = [name.strip().lower() for name in names.split(",") if name.strip()]
    if given != [NONE] and not set(given) <= set(Redact):
        raise ValueError(f"{NONE}, or some of {', '.join(Redact)}, separated by commas")
    return ",".join(given)


def _unbroken(value: str | None) -> str | None:
    # as `kubectl create secret --from-file` reads it from a file, and echo writes it
    if value and _CONTROL.search(value):
        raise ValueError("a value without a line break, such as a secret has that was made with one at its end")
    return value


def _unbroken_secret(value: SecretStr | None) -> SecretStr | None:
    _unbroken(value.get_secret_value() if value else None)
    return value


Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]  # a time that is waited for: more than none, a week at most
HttpUrl = Annotated[str, AfterValidator(_http_url)]  # kept without its last slash
Host = Annotated[str, AfterValidator(_host)]  # goes into a URL
OneLine = Annotated[str, AfterValidator(_unbroken)]  # goes into a header, or a login
Secret = Annotated[SecretStr, AfterValidator(_unbroken_secret)]
BootstrapServers = Annotated[str | None, AfterValidator(_bootstrap_servers)]  # host:port, separated by commas
AmqpUrls = Annotated[SecretStr, AfterValidator(_amqp_urls)]  # separated by commas; each may hold a password
Dialect = Annotated[str, AfterValidator(_dialect)]  # one that sqlglot knows, or `off`
RedactNames = Annotated[str, AfterValidator(_redact)]  # of `Redact`, separated by commas, or `none`
