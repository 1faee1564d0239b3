"""The version of this Weir."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from weir.telemetry import metrics
from weir.version import UNKNOWN, Version, read_version

PATH = {"PATH": os.environ["PATH"]}
Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Runs git in a checkout with one commit."""
    config = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": "t@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def run(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=PATH | config, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    run("add", "code.py")
    run("commit", "--quiet", "--message", "First")
    return run


def commit(checkout: Path, **environ: str) -> str:
    return read_version(PATH | environ, checkout).commit


def test_in_a_checkout_the_commit_is_gits(git: Git, tmp_path: Path) -> None:
    head = git("rev-parse", "HEAD")
    git("tag", "v1")
    assert commit(tmp_path) == head
    assert len(head) == 40
    (tmp_path / "notes").touch()
    assert commit(tmp_path) == head


def test_code_that_was_changed_after_its_commit_says_so(git: Git, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("2\n")
    assert commit(tmp_path) == f"{git('rev-parse', 'HEAD')}-dirty"


@pytest.mark.usefixtures("git")
def test_an_image_says_the_commit_of_its_build(tmp_path: Path) -> None:
    assert commit(tmp_path, WEIR_COMMIT="0123abc") == "0123abc"


def test_an_empty_variable_is_no_commit(git: Git, tmp_path: Path) -> None:
    assert commit(tmp_path, WEIR_COMMIT=" ") == git("rev-parse", "HEAD")


@pytest.mark.usefixtures("git")
def test_an_installation_inside_another_checkout_does_not_say_its_commit(tmp_path: Path) -> None:
    inside = tmp_path / "venv" / "site-packages"
    inside.mkdir(parents=True)
    assert commit(inside) == UNKNOWN


def test_a_hooks_variables_do_not_lead_to_its_repository(git: Git, tmp_path: Path) -> None:
    assert commit(tmp_path, GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere") == git("rev-parse", "HEAD")


@pytest.mark.usefixtures("git")
def test_without_git_the_commit_is_unknown(tmp_path: Path) -> None:
    assert commit(tmp_path, PATH=str(tmp_path)) == UNKNOWN


def test_a_git_that_fails_or_hangs_is_no_git(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("status")
    shutil.rmtree(tmp_path / ".git" / "objects")
    assert commit(tmp_path) == UNKNOWN

    def hangs(command: list[str], **_: object) -> NoReturn:
        raise subprocess.TimeoutExpired(command, 5)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert commit(tmp_path) == UNKNOWN


def test_the_versions_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_version({})
    assert found.version == metadata.version("weir")
    assert found.faust_streaming == metadata.version("faust-streaming")
    assert found.python.startswith("3.")

    def missing(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert read_version({}).version == UNKNOWN


def test_all_ways_to_ask_say_the_same() -> None:
    version = Version(version="1.2.3", commit="abc", python="3.12.1", faust_streaming="0.15.3", aiokafka="0.14.0")
    assert version.as_json() == {
        "name": "weir",
        "version": "1.2.3",
        "commit": "abc",
        "python": "3.12.1",
        "faust_streaming": "0.15.3",
        "aiokafka": "0.14.0",
    }
    assert dict(zip(metrics.BUILD.labels, version.labels(), strict=True)) == {
        field.name: getattr(version, field.name) for field in fields(version)
    }
    assert str(version) == "weir 1.2.3, commit abc, on Python 3.12.1, faust-streaming 0.15.3 and aiokafka 0.14.0"
