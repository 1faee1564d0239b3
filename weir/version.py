"""The version of Weir: its release, its commit, and the versions of Python, Faust and aiokafka.

The commit is that of the checkout in which this file lies. An image holds no checkout: its build puts the commit into
the environment as `WEIR_COMMIT` (Dockerfile). Asking git takes a process, so a worker does it once, before its event
loop runs.
"""

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[1]
UNKNOWN: Final = "unknown"
GIT_TIMEOUT_S: Final = 5.0
# HEAD's commit, whole; with "-dirty" where a tracked file differs from it. Waits for no lock and takes none.
DESCRIBE: Final = ("--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


@dataclass(frozen=True, kw_only=True)
class Version:
    """The content of ``GET /version``, ``faust -A app version`` and the metric ``weir_build_info``."""

    version: str
    commit: str
    """All 40 digits, with ``-dirty`` if the code was changed after it; or ``unknown``."""
    python: str
    faust_streaming: str
    aiokafka: str

    def as_json(self) -> dict[str, str]:
        """All fields, and the name of the program."""
        return {"name": "weir", **asdict(self)}

    def labels(self) -> tuple[str, ...]:
        """All fields in their order."""
        return tuple(asdict(self).values())

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"weir {self.version}, commit {self.commit}, on Python {self.python}, "
            f"faust-streaming {self.faust_streaming} and aiokafka {self.aiokafka}"
        )


def read_version(environ: Mapping[str, str], checkout: Path = CHECKOUT) -> Version:
    """The version of the code that runs. Never raises: a worker without git works as well.

    Args:
        environ: the environment of this process.
        checkout: the folder in which git is asked, if it is a checkout of its own.
    """
    return Version(
        version=_installed("weir"),
        commit=environ.get("WEIR_COMMIT", "").strip() or _commit(environ, checkout) or UNKNOWN,
        python=platform.python_version(),
        faust_streaming=_installed("faust-streaming"),
        aiokafka=_installed("aiokafka"),
    )


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _commit(environ: Mapping[str, str], checkout: Path) -> str | None:
    git = shutil.which("git", path=environ.get("PATH"))
    # Without the second condition, an installation within another project's checkout would report its commit.
    if git is None or not (checkout / ".git").exists():
        return None
    # Within a git hook, variables name the hook's repository and index.
    own = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    try:
        asked = subprocess.run(  # noqa: S603 -- git and constant arguments
            [git, *DESCRIBE], cwd=checkout, env=own, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None
