"""Prometheus' own checker. Debian has it in the package prometheus, which would start a daemon when installed.

So only that program is taken from the package, into the cache with Kafka's jars.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.services.process import ServiceError, say

PACKAGE = "prometheus"
DOWNLOAD_TIMEOUT_S = 300.0


def promtool() -> str:
    """The program: the system's, or Debian's, fetched the first time."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    cache = Path(os.environ.get("WEIR_CACHE") or Path.home() / ".cache" / "weir")
    target = cache / "promtool"
    if not target.is_file():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise ServiceError("promtool is missing; it comes with Prometheus")
        say("downloading promtool (about 20 MB, once) …")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="downloading-", dir=cache) as folder:
            # Only a complete folder gets the name, by one rename; another run may have been faster.
            _extracted(_package(Path(folder)), Path(folder)).rename(target)
    return str(target)


def check(arguments: Sequence[str], text: bytes = b"") -> str:
    """The complaints of ``promtool check …`` about a text or files; empty if it has none."""
    command = [promtool(), "check", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, check=False, timeout=60)
    told = (done.stdout + done.stderr).decode()
    return told or f"exit code {done.returncode}" if done.returncode else done.stderr.decode()


def _package(folder: Path) -> Path:
    """Debian's package. Without package lists on the machine, it uses lists of its own, which need no root."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"]
    plans = ([["download"]], [[*own, "update"], [*own, "download"]])
    for plan in plans:
        done = [_apt(folder, step) for step in plan]
        if found := sorted(folder.glob("*.deb")):
            return found[0]
    raise ServiceError(f"the package {PACKAGE} cannot be downloaded:\n{done[-1]}")


def _apt(folder: Path, step: Sequence[str]) -> str:
    what = [PACKAGE] if step[-1] == "download" else []
    done = subprocess.run(
        ["apt-get", "-q", *step, *what],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=DOWNLOAD_TIMEOUT_S,
    )
    return done.stdout.decode()


def _extracted(package: Path, folder: Path) -> Path:
    archive = folder / "package.tar"
    with archive.open("wb") as output:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=output, check=True)
    subprocess.run(["tar", "-x", "-f", str(archive), "-C", str(folder), "./usr/bin/promtool"], check=True)
    return folder / "usr" / "bin" / "promtool"
