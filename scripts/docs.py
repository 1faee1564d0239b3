"""Makes the docs that are generated from the code: settings, topics, lifecycle, metrics, compatibility, schemas.

``python -m scripts.docs`` writes them; ``--check`` fails where they differ from the code.
"""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tests.compatibility.cases import all_sheets
from weir import topics
from weir.chat.lifecycle import TERMINAL, TRANSITIONS, State
from weir.events import catalogue
from weir.events.base import EventData
from weir.settings import Settings
from weir.telemetry import metrics

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- made by `make docs` from {source}; do not edit -->"
DAY_S = 86_400


def settings_page() -> str:
    """docs/settings.md."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {_allowed(field.annotation)}{_bounds(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            MADE.format(source="`weir/settings/settings.py`"),
            "",
            "All settings are environment variables. An empty variable counts as unset, except `RABBITMQ_URL`, whose",
            "empty value turns RabbitMQ off. A value that is not allowed stops the start with one line that names the",
            "variable, the given value (never a secret) and the allowed ones.",
            "",
            "| variable | default | allowed | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "see right"
    if field.default is None:
        return "unset"
    if field.default == "":
        return "empty"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return f"`{value:.15g}`" if isinstance(value, float) else f"`{value}`"


def _allowed(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is Annotated:
        return _allowed(args[0])
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return _allowed(next(arg for arg in args if arg is not NoneType))
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return ", ".join(f"`{value}`" for value in annotation)
    return {int: "integer", float: "number", Path: "path", SecretStr: "text (secret)"}.get(annotation, "text")


def _bounds(field: FieldInfo) -> str:
    found = {}
    for item in field.metadata:
        for name in ("ge", "gt", "le", "min_length"):
            if getattr(item, name, None) is not None:
                found[name] = getattr(item, name)
    words = {"ge": "at least", "gt": "more than", "le": "at most", "min_length": "length at least"}
    return "".join(f", {words[name]} {int(value)}" for name, value in found.items())


ON_BROKERS = """\
On the brokers each name has `KAFKA_TOPIC_PREFIX` in front, and so have the consumer group and the changelogs of the
tables (`<prefix><group>-<table>-changelog`). The settings are in [settings.md](settings.md).

A start creates missing topics. An existing topic must have the number of partitions given here, or the worker does not
start. On Kafka its retention stays as its operator has set it, and each start reports where it differs from the
setting; the embedded log takes the setting.

The number of partitions decides the partition of each key, so it does not change while a topic lives. For another
`CHAT_PARTITIONS` drain the workers, then start them with another `KAFKA_TOPIC_PREFIX`; workers with the old prefix
still serve old answers.

A start reads how large a record a topic takes (`max.message.bytes`). If an operator lowers that limit, workers learn it
from the first record that is refused; if an operator raises it, it counts after a restart of the workers."""


def topics_page() -> str:
    """docs/topics.md."""
    source = Path(topics.__file__).read_text()
    rows = []
    for spec in topics.TOPICS:
        note = source.split(f'name="{spec.name}"', 1)[1].split('"""', 2)[1]
        key, what, route = (part.strip() for part in note.split(";", 2))
        count = spec.partitions if isinstance(spec, topics.SmallTopic) else "CHAT_PARTITIONS"
        kept = spec.kept.upper() if spec.kept else "a day"
        rows.append(f"| {spec.name} | {key.removeprefix('key ')} | {count} | {kept} | {what} | {route} |")
    return "\n".join(
        [
            "# Topics",
            "",
            MADE.format(source="`weir/topics.py`"),
            "",
            "Every record is a JSON event with the envelope",
            "`{event_id, event_type, tenant_id, timestamp, source, data}`.",
            "",
            *ON_BROKERS.splitlines(),
            "",
            "| topic | key | partitions | kept for | record | written by -> read by |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def lifecycle_page() -> str:
    """docs/lifecycle.md."""
    arrows = [f"    {_node(a)} --> {_node(b)}: {happening}" for (a, happening), b in TRANSITIONS.items()]
    ends = [f"    {_node(state)} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(
        [
            "# The life of a request",
            "",
            MADE.format(source="`weir/chat/lifecycle.py`"),
            "",
            "The states agent folds agent-trace-events into the requests table by these transitions. An event without",
            "a transition from the current state changes nothing. A request is `unknown` until the table has an event",
            "of it.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            *arrows,
            *ends,
            "```",
            "",
        ]
    )


def _node(state: State) -> str:
    return "[*]" if state is State.UNKNOWN else str(state)


def events_page() -> str:
    """docs/schemas/README.md."""
    rows = []
    for model in catalogue.TYPES:
        what = (model.__doc__ or "").partition("\n")[0]
        rows.append(f"| [{model.EVENT_TYPE}]({model.EVENT_TYPE}.json) | {model.TOPIC} | {model.VERSION} | {what} |")
    return "\n".join(
        [
            "# Events",
            "",
            MADE.format(source="`weir/events/`"),
            "",
            "The JSON Schemas (2020-12) of the records' values. A worker serves them, too: `GET /schemas`.",
            "",
            "| type | topic | version | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


METRICS_ARE = """
Every worker serves `GET /metrics` for Prometheus, in its text format, or in OpenMetrics if the scraper asks for that.
The values are those of one worker; add them up. [alerts.yml](alerts.yml) has example rules.

Labels have few values. Topics are those of [topics.md](topics.md) and the changelogs of the tables. A model has a label
of its own from its first whole answer on, if it is among the first `METRICS_MODELS_MAX`; all others are `other`, as are
error codes that Weir does not know. No label has a tenant or a user: agent-metrics-events have these.

Each scrape asks the broker for the consumer lag, for at most half a second. While the broker is away, the metrics show
the last known lag, with the time of that lag.
"""

METRICS_COST = """
prometheus-client adds `process_*` (CPU, memory, files), `python_gc_*` and `python_info`.

## What it costs

Measured on one core of a small machine: 1.2 microseconds for each record that is appended, tokens included; nothing for
each record that is tailed; 3 ms for a scrape of a young worker, and 25 ms with 50 models in every label, during which
nothing else waits for longer than 5 ms.

## Buckets

Upper bounds; the code has the reasons.
"""


def metrics_page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `{spec.name}` | {spec.kind}, {spec.unit} | {', '.join(f'`{name}`' for name in spec.labels)} | {spec.help} |"
        for spec in metrics.ALL
    ]
    buckets = [
        f"| `{spec.name}` | {', '.join(f'{bound:g}' for bound in spec.buckets)} |"
        for spec in metrics.ALL
        if spec.buckets
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            MADE.format(source="`weir/telemetry/metrics.py`"),
            METRICS_ARE,
            "| metric | kind, unit | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            METRICS_COST,
            "| histogram | buckets |",
            "|---|---|",
            *buckets,
            "",
        ]
    )


def _schema(model: type[EventData]) -> str:
    return json.dumps(catalogue.schema(model), indent=2) + "\n"


COMPATIBLE = """
This page lists where LLM servers, clients and brokers differ from the documentation of OpenAI and Kafka: which of them
does what, and what it gets. Each row is a case of a test that runs on every path that applies: a stream, one JSON
object, the stored answer, a resumed stream, RabbitMQ, on both logs.
"""


def compatibility_page() -> str:
    """docs/compatibility.md."""
    lines = ["# Compatibility", "", MADE.format(source="`tests/compatibility/`"), COMPATIBLE]
    for sheet in all_sheets().values():
        rows = [f"| {_cell(case.peer)} | {_cell(case.does)} | {_cell(case.gets)} |" for case in sheet.cases]
        lines += [f"## {sheet.title}", "", sheet.about, "", "| peer | does | and gets |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "topics.md": topics_page,
    "lifecycle.md": lifecycle_page,
    "metrics.md": metrics_page,
    "compatibility.md": compatibility_page,
    "schemas/README.md": events_page,
    **{f"schemas/{model.EVENT_TYPE}.json": partial(_schema, model) for model in catalogue.TYPES},
}


def main() -> int:
    """Write the pages, or with ``--check`` compare them; returns the exit code."""
    stale = [name for name, page in PAGES.items() if _text(DOCS / name) != page()]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} differs from the code: run `make docs`")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(PAGES[name]())
        print(f"wrote docs/{name}")
    return 0


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
