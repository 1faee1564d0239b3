"""scripts/system_packages.sh on machines made of fakes: its PATH has nothing else."""

import contextlib
import os
import pty
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "system_packages.sh"
WITHIN_S = 30

PASSES = "exit 0"
HAS_NO_VENV = 'case "$2" in *ensurepip*) exit 1 ;; esac'
IS_OLD = 'case "$2" in *version_info*) exit 1 ;; esac'
JAVA_17 = """echo 'openjdk version "17.0.2" 2022-01-18' >&2"""

# What each of Debian's packages brings.
PACKAGES = {
    "make": {"make": PASSES},
    "git": {"git": PASSES},
    "python3": {"python3": HAS_NO_VENV},
    "python3-venv": {"python3": PASSES},
    "default-jre-headless": {"java": JAVA_17},
    "maven": {"mvn": PASSES},
    "rabbitmq-server": {"rabbitmq-server": PASSES},
    "openssl": {"openssl": PASSES},
    "procps": {"ps": PASSES},
    "chromium": {"chromium": PASSES},
    "nodejs": {"node": PASSES},
    "npm": {"npm": PASSES},
}
EVERYTHING = {name: text for programs in PACKAGES.values() for name, text in programs.items()}


@dataclass
class Machine:
    """A machine's programs and user, and the calls of programs that change something."""

    folder: Path
    programs: dict[str, str] = field(default_factory=lambda: dict(EVERYTHING))
    is_root: bool = True
    sudo: str | None = None
    apt_get: str | None = "installs"

    def build(self) -> None:
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.calls = self.folder / "calls"
        self.calls.touch()
        for name, text in self.programs.items():
            write(self.bin / name, text)
        write(self.bin / "id", f"echo {0 if self.is_root else 1000}")
        (self.bin / "env").symlink_to(shutil.which("env") or "/usr/bin/env")
        record = f'echo "${{0##*/}} $*" >>{self.calls}'
        if self.sudo:
            quiet = "exit 0" if self.sudo == "without a password" else "exit 1"
            write(self.bin / "sudo", f'[ "$1" != -n ] || {quiet}\n{record}\nexec "$@"')
        if self.apt_get:
            does = {"installs": self._installs(), "fails": "exit 100", "installs nothing": PASSES}[self.apt_get]
            write(self.bin / "apt-get", f'[ "$DEBIAN_FRONTEND" = noninteractive ] || exit 99\n{record}\n{does}')

    def _installs(self) -> str:
        """The shell's words that put the programs of the packages on the PATH."""
        cases = []
        for package, programs in PACKAGES.items():
            shelf = self.folder / "packages" / package
            shelf.mkdir(parents=True)
            for name, text in programs.items():
                write(shelf / name, text)
            cases.append(f"{package}) /bin/cp {shelf}/* {self.bin} ;;")
        return f'for word in "$@"; do case $word in {" ".join(cases)} esac; done'

    def run(self, *arguments: str, typed: str | None = None, **environment: str) -> tuple[int, str]:
        """Return the script's exit code and output. With typed input, it runs in a terminal."""
        command = ["/bin/bash", str(SCRIPT), *arguments]
        environment = {"PATH": str(self.bin), "WEIR_SBIN": str(self.folder / "sbin"), **environment}
        if typed is None:
            done = subprocess.run(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=WITHIN_S,
            )
            assert done.stdout == ""
            return done.returncode, done.stderr
        ours, terminal = pty.openpty()
        os.write(ours, typed.encode())
        ended = subprocess.run(
            command,
            env=environment,
            cwd=self.folder,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            check=False,
            timeout=WITHIN_S,
        )
        os.close(terminal)
        return ended.returncode, rest_of(ours)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


def rest_of(terminal: int) -> str:
    """Return all output to a terminal whose other end is closed; closes it."""
    with open(terminal, "rb", buffering=0) as output:
        parts = []
        with contextlib.suppress(OSError):  # so Linux says the end; macOS says it as for a file
            while part := output.read(65536):
                parts.append(part)
    return b"".join(parts).decode()


def write(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def all_but(*names: str) -> dict[str, str]:
    return {name: text for name, text in EVERYTHING.items() if name not in names}


UPDATE, INSTALL = "apt-get -q update", "apt-get -q install -y --no-install-recommends"
BY_ROOT = [UPDATE, f"{INSTALL} maven chromium"]
BY_SUDO = [call for command in BY_ROOT for call in (f"sudo env DEBIAN_FRONTEND=noninteractive {command}", command)]
ROOTS_LINE = "apt-get update && apt-get install --no-install-recommends maven chromium"
SUDOS_LINE = "sudo apt-get update && sudo apt-get install --no-install-recommends maven chromium"


@dataclass
class Case:
    """A machine on which Maven and a browser are missing."""

    calls: list[str]
    says: list[str]
    is_root: bool = True
    sudo: str | None = None
    apt_get: str | None = "installs"
    arguments: tuple[str, ...] = ()
    typed: str | None = None
    ci: str = ""
    asks: bool = False
    code: int = 0


CASES = {
    "root, without a terminal": Case(BY_ROOT, [ROOTS_LINE]),
    "root, in a terminal, yes": Case(BY_ROOT, [ROOTS_LINE], typed="y\n", asks=True),
    "root, in a terminal, no": Case([], [ROOTS_LINE, "Nothing is installed"], typed="n\n", asks=True, code=1),
    "root, in a terminal, only Enter": Case([], ["Nothing is installed"], typed="\n", asks=True, code=1),
    "root, in a terminal, no answer": Case([], ["Nothing is installed"], typed="\x04", asks=True, code=1),
    "root, in a terminal, --yes": Case(BY_ROOT, [ROOTS_LINE], typed="", arguments=("--yes",)),
    "root, in a terminal of a CI": Case(BY_ROOT, [ROOTS_LINE], typed="", ci="true"),
    "root, in a terminal, CI=false": Case([], ["Nothing is installed"], typed="n\n", asks=True, ci="false", code=1),
    "a user, sudo without a password": Case(BY_SUDO, [SUDOS_LINE], is_root=False, sudo="without a password"),
    "a user, sudo with a password, no terminal": Case(
        [], [SUDOS_LINE, "sudo wants a password"], is_root=False, sudo="with a password", code=1
    ),
    "a user, sudo with a password, no terminal, --yes": Case(
        [], [SUDOS_LINE, "password"], is_root=False, sudo="with a password", arguments=("--yes",), code=1
    ),
    "a user, sudo with a password, in a terminal, yes": Case(
        BY_SUDO, [SUDOS_LINE], is_root=False, sudo="with a password", typed="y\n", asks=True
    ),
    "a user, sudo with a password, in a terminal, no": Case(
        [], [SUDOS_LINE, "Nothing is installed"], is_root=False, sudo="with a password", typed="n\n", asks=True, code=1
    ),
    "a user, no sudo": Case([], [f": {ROOTS_LINE}", "Only root", "no sudo"], is_root=False, code=1),
    "a user, no sudo, in a terminal": Case([], ["Only root"], is_root=False, typed="y\n", code=1),
    "no apt-get": Case([], ["no apt-get", "Maven (mvn)", "Chromium or Chrome"], apt_get=None, code=1),
    "apt-get fails": Case([UPDATE], ["apt-get failed"], apt_get="fails", code=1),
    "apt-get installs something else": Case(
        BY_ROOT, ["still missing:\n  Maven (mvn)\n  Chromium or Chrome\n"], apt_get="installs nothing", code=1
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_missing_is_said_and_installed_only_where_that_is_allowed(case: Case, tmp_path: Path) -> None:
    machine = Machine(tmp_path, all_but("mvn", "chromium"), case.is_root, case.sudo, case.apt_get)
    machine.build()
    code, told = machine.run(*case.arguments, typed=case.typed, CI=case.ci)
    assert machine.called() == case.calls
    assert code == case.code, told
    for words in ("Maven (mvn)", *case.says):
        assert words in told.replace("\r\n", "\n")
    assert ("Install them now?" in told) == case.asks


def test_nothing_is_missing_so_nothing_is_said_asked_or_started(tmp_path: Path) -> None:
    """Java and Python alone are started, for their versions: the rest only has to be there."""
    started = {name: f"echo {name} >>{tmp_path}/calls" for name in EVERYTHING if name not in {"java", "python3"}}
    machine = Machine(tmp_path, EVERYTHING | started, is_root=False, sudo="with a password")
    machine.build()
    assert machine.run() == (0, "")
    assert machine.run("--yes") == (0, "")
    assert machine.called() == []


@pytest.mark.parametrize(
    ("programs", "packages"),
    [
        pytest.param(all_but("make"), "make", id="make"),
        pytest.param(all_but("git"), "git", id="git"),
        pytest.param(all_but("python3"), "python3 python3-venv", id="Python"),
        pytest.param(EVERYTHING | {"python3": IS_OLD}, "python3 python3-venv", id="an old Python"),
        pytest.param(EVERYTHING | {"python3": HAS_NO_VENV}, "python3 python3-venv", id="a Python without venv"),
        pytest.param(all_but("java"), "default-jre-headless", id="Java"),
        pytest.param(
            EVERYTHING | {"java": """echo 'openjdk version "11.0.20" 2023-07-18' >&2"""},
            "default-jre-headless",
            id="an old Java",
        ),
        pytest.param(
            EVERYTHING | {"java": """echo 'java version "1.8.0_392"' >&2"""},
            "default-jre-headless",
            id="a Java of the time when it was called 1.8",
        ),
        pytest.param(EVERYTHING | {"java": "exit 1"}, "default-jre-headless", id="a Java that does not run"),
        pytest.param(all_but("mvn"), "maven", id="Maven"),
        pytest.param(all_but("rabbitmq-server"), "rabbitmq-server", id="RabbitMQ"),
        pytest.param(all_but("openssl"), "openssl", id="OpenSSL"),
        pytest.param(all_but("ps"), "procps", id="ps"),
        pytest.param(all_but("chromium"), "chromium", id="a browser"),
        pytest.param(all_but("node"), "nodejs", id="Node.js"),
        pytest.param(all_but("npm"), "npm", id="npm"),
    ],
)
def test_each_program_has_its_packages(programs: dict[str, str], packages: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, programs)
    machine.build()
    code, told = machine.run()
    assert code == 0, told
    assert machine.called() == [UPDATE, f"{INSTALL} {packages}"]
    assert machine.run() == (0, "")


@pytest.mark.parametrize(
    "programs",
    [
        pytest.param(EVERYTHING | {"java": """echo 'openjdk version "21" 2023-09-19' >&2"""}, id="a new Java"),
        pytest.param(all_but("chromium") | {"google-chrome": PASSES}, id="another browser"),
        pytest.param(all_but("python3") | {"python3.12": PASSES}, id="a Python by its version"),
        pytest.param(EVERYTHING | {"python3": IS_OLD, "python3.13": PASSES}, id="a newer Python beside an old one"),
    ],
)
def test_what_does_as_well_is_taken(programs: dict[str, str], tmp_path: Path) -> None:
    machine = Machine(tmp_path, programs, apt_get=None)
    machine.build()
    assert machine.run() == (0, "")


def test_only_the_programs_that_are_named_are_looked_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path, all_but("mvn", "java", "chromium"))
    machine.build()
    assert machine.run("python", "ps") == (0, "")
    code, _ = machine.run("python", "java")
    assert code == 0
    assert machine.called() == [UPDATE, f"{INSTALL} default-jre-headless"]


def test_a_program_that_is_not_in_the_table_is_an_error(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.build()
    code, told = machine.run("java|maven")
    assert code == 1
    assert "There is no program java|maven" in told


def test_a_virtual_environment_needs_no_other_python(tmp_path: Path) -> None:
    machine = Machine(tmp_path, all_but("python3"), apt_get=None)
    machine.build()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    write(python, PASSES)
    assert machine.run() == (0, "")
    assert machine.run(VENV="elsewhere")[0] == 1


def test_the_python_and_the_java_of_the_environment_are_those_that_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path, EVERYTHING | {"python3.12": IS_OLD}, apt_get="installs nothing")
    machine.build()
    code, told = machine.run(PYTHON="python3.12", JAVA_HOME=str(tmp_path / "jdk"))
    assert code == 1
    assert "still missing:\n  Python 3.11, 3.12 or 3.13" in told
    assert "Java 17" in told
    assert "JAVA_HOME and PYTHON" in told
    assert machine.run(PYTHON="python3") == (0, "")


def test_programs_of_the_administrators_folders_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path, all_but("rabbitmq-server"), apt_get=None)
    machine.build()
    (tmp_path / "sbin").mkdir()
    write(tmp_path / "sbin" / "rabbitmq-server", PASSES)
    assert machine.run() == (0, "")


def test_make_test_and_ci_see_to_the_system_by_this_script_alone() -> None:
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "\nsystem:\n\t@scripts/system_packages.sh\n" in makefile
    assert "\ntest: system " in makefile
    assert "\nscripts/system_packages.sh --yes\n" in ci
    assert "apt-get" not in makefile + ci
    assert os.access(SCRIPT, os.X_OK)
