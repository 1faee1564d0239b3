"""A certificate authority of one test, and a certificate of it for a server on loopback, by the openssl program."""

import shutil
import subprocess
from pathlib import Path

from tests.services.process import ServiceError

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server.pem and server.key. Nobody but a client that is given ca.pem trusts the server."""
    if shutil.which("openssl") is None:
        raise ServiceError("openssl is missing; on Debian: apt-get install openssl")
    of_authority = ["-subj", "/CN=Weir tests", "-addext", "keyUsage=critical,keyCertSign"]
    _make(folder, "ca", of_authority)
    of_server = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    _make(folder, "server", [*of_server, "-CA", "ca.pem", "-CAkey", "ca.key"])


def _make(folder: Path, name: str, more: list[str]) -> None:
    command = ["openssl", "req", "-x509", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", *more]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServiceError(f"openssl did not make {name}.pem: {made.stderr}")
