"""Makes a certificate authority for one test, and certificates for loopback, with the openssl program."""

import shutil
import subprocess
from pathlib import Path

from tests.services.process import ServiceError

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server.pem and server.key. Only a client with ca.pem trusts the server."""
    make_authority(folder, "ca")
    make_certificate(folder, "server", subject="/CN=localhost", names="IP:127.0.0.1,DNS:localhost")


def make_authority(folder: Path, name: str) -> None:
    """Write an authority's certificate and key."""
    if shutil.which("openssl") is None:
        raise ServiceError("openssl is missing; `make system` installs it")
    _make(folder, name, ["-subj", f"/CN=Weir tests {name}", "-addext", "keyUsage=critical,keyCertSign"])


def make_certificate(folder: Path, name: str, *, subject: str, names: str | None = None) -> None:
    """Write a certificate that ca.pem vouches for, and its key.

    Args:
        folder: the folder with ca.pem and ca.key.
        name: the name of the files.
        subject: the subject of the certificate.
        names: the names of the server.
    """
    extensions = ["-addext", f"subjectAltName={names}"] if names else []
    _make(folder, name, ["-subj", subject, *extensions, "-CA", "ca.pem", "-CAkey", "ca.key"])


def _make(folder: Path, name: str, more: list[str]) -> None:
    command = ["openssl", "req", "-x509", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", *more]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServiceError(f"openssl did not make {name}.pem: {made.stderr}")
