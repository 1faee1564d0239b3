"""docker-compose.yml and the Dockerfile, as far as tests need no container engine. Their form: `make lint`."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.unit.test_packaging import packages
from weir.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


def services() -> dict[str, Any]:
    composed: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    found: dict[str, Any] = composed["services"]
    return found


def defaults(value: str) -> str:
    """``${NAME:-default}`` as Compose reads it where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def test_the_workers_settings_are_settings_and_are_allowed() -> None:
    for name in ("worker-1", "worker-2"):
        environment = {key: defaults(str(value)) for key, value in services()[name]["environment"].items()}
        assert set(environment) <= {field.upper() for field in Settings.model_fields}
        assert load_settings(environment).on_kafka


def test_workers_wait_for_a_broker_that_has_a_health_check() -> None:
    found = services()
    for name in ("worker-1", "worker-2"):
        for needed, how in found[name]["depends_on"].items():
            assert how["condition"] == "service_healthy"
            assert found[needed]["healthcheck"]["test"]


def test_the_image_holds_every_package_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "COPY . ." in lines
    nothing, *copied, never = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert (nothing, never) == ("*", "**/__pycache__")
    assert {line.removeprefix("!") for line in copied} == {
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        *packages(),
    }
    (user,) = (line.split()[1] for line in lines if line.startswith("USER "))
    assert int(user) > 0
    assert any(line.startswith("HEALTHCHECK") for line in lines)
