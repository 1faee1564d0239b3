"""`make install` with a pip that only notes its arguments."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a virtual environment whose pip installs nothing."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "scripts").mkdir()
    program(tmp_path / "scripts" / "system_packages.sh", "exit 0")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "ruff"):
        program(programs / name, "exit 0")
    program(programs / "pip", f'for word; do last=$word; done; echo "$last" >>{tmp_path}/asked')
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=checkout, capture_output=True, text=True, check=False, timeout=60)


def asked(checkout: Path, *arguments: str) -> list[str]:
    """Run make; return the arguments of all calls of pip so far."""
    done = make(checkout, *arguments)
    assert done.returncode == 0, done.stderr
    return (checkout / "asked").read_text().split()


def test_other_extras_are_installed_and_the_same_are_not_installed_twice(checkout: Path) -> None:
    plain, more = ".[rocksdb]", ".[rocksdb,parquet,otel]"
    assert asked(checkout, "install") == [plain]
    assert asked(checkout, "install") == [plain]
    assert asked(checkout, "install", "EXTRAS=parquet,otel") == [plain, more]
    assert asked(checkout, "install", "EXTRAS=parquet,otel") == [plain, more]


def test_extras_stay_when_a_new_version_is_installed(checkout: Path) -> None:
    more = ".[rocksdb,parquet]"
    assert asked(checkout, "install", "EXTRAS=parquet") == [more]
    assert asked(checkout, "run") == [more]
    (checkout / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + "# a new version\n")
    assert asked(checkout, "run") == [more, more]


def test_an_extra_that_does_not_exist_is_an_error(checkout: Path) -> None:
    done = make(checkout, "install", "EXTRAS=parquet,parkett")
    assert done.returncode != 0
    assert "there is no extra parkett" in done.stderr
    assert not (checkout / "asked").exists()


def test_what_tests_need_is_enough_for_a_worker(checkout: Path) -> None:
    assert asked(checkout, "format") == [".[dev,otel,parquet,rocksdb]"]
    assert asked(checkout, "run") == [".[dev,otel,parquet,rocksdb]"]
