"""Answers with fields that are much larger than they should be."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.paths import PathName
from tests.compatibility.upstream import Script, chunk, event, head, said, whole
from weir.envelope import Json
from weir.limits import MESSAGE_CHARS, NAME_CHARS

LONG = "x" * 400_000
HTTP_CHARS = 50_000  # no more than 64 KiB of an HTTP error's body is read
HUGE = "y" * 1_000_000
TEXT = "It is 2."
SAYS = chunk({"role": "assistant", "content": TEXT})
STOP = chunk({}, "stop")
DEEPEST: list[Any] = []
ERROR: Json = {"message": "no", "type": "t", "param": "p", "code": "c"}
EVERYWHERE: tuple[PathName, ...] = ("stream", "again", "stored", "json", "rabbitmq")
UNTYPED: tuple[PathName, ...] = ("json", "rabbitmq")  # the openai client takes no unknown finish_reason
CHARS = {"message": MESSAGE_CHARS, "type": NAME_CHARS, "param": NAME_CHARS, "code": NAME_CHARS}


@dataclass(frozen=True, kw_only=True)
class SizeCase(Case):
    """An answer with a large field, and the end of the request."""

    script: Script
    paths: tuple[PathName, ...] = EVERYWHERE
    error: Json | None = None  # beginnings of its error's fields; None: the request completes with TEXT


def _cut(text: str, chars: int) -> str:
    return text[: chars - 1]


def _errors() -> tuple[SizeCase, ...]:
    """An error with one large field, as an HTTP error and in the middle of a stream."""
    cases: list[SizeCase] = []
    for field, chars in CHARS.items():
        body, streamed = {**ERROR, field: LONG[:HTTP_CHARS]}, {**ERROR, field: LONG}
        for name, does, size, script in (
            ("http", "answers 400 with an error", HTTP_CHARS, (whole({"error": body}, "400 Bad Request"),)),
            ("stream", "ends a stream with an error", len(LONG), (head(), event(SAYS), event({"error": streamed}))),
        ):
            case = SizeCase(
                id=f"size-error-{name}-{field}",
                peer="gateways that quote what they were sent",
                does=f"{does} whose `{field}` has {size:,} characters",
                gets=f"that error, with {chars} characters of its `{field}`",
                script=script,
                error={**ERROR, field: _cut(LONG, chars)},
            )
            cases.append(case)
    return tuple(cases)


def _completed(name: str, does: str, gets: str, *chunks: Json, paths: tuple[PathName, ...] = EVERYWHERE) -> SizeCase:
    peer = "servers with a defect, hostile servers"
    return SizeCase(id=f"size-{name}", peer=peer, does=does, gets=gets, script=said(*chunks), paths=paths)


WHOLE = "the answer as it came; its row and its events hold a part of it"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

SHEET = Sheet(
    title="Sizes",
    about="Whatever an LLM sends, the request ends once, its row fits into a record, and the worker answers the next "
    "one. An answer is kept as it came; errors, usage objects and names are cut (decision 23).",
    cases=(
        *_errors(),
        SizeCase(
            id="size-error-all-fields",
            peer="gateways that quote what they were sent",
            does="answers 500 with 15,000 characters in each field of the error",
            gets="that error, each field cut",
            script=(whole({"error": dict.fromkeys(ERROR, LONG[:15_000])}, "500 Internal Server Error"),),
            error={field: _cut(LONG, chars) for field, chars in CHARS.items()},
        ),
        SizeCase(
            id="size-error-nested-code",
            peer="gateways that hand on the error of another",
            does="answers 400 with an object of 50,000 characters as `code`",
            gets="the error, its `code` as text, cut",
            script=(whole({"error": {**ERROR, "code": {"inner": LONG[:HTTP_CHARS]}}}, "400 Bad Request"),),
            error={"message": "no", "type": "t"},
        ),
        _completed("finish-reason", "ends with a `finish_reason` of 1 MB", WHOLE, SAYS, chunk({}, HUGE), paths=UNTYPED),
        _completed("model", "names itself with 1 MB in `model`", WHOLE, {**SAYS, "model": HUGE}, STOP),
        _completed(
            "fingerprint", "sends 1 MB of `system_fingerprint`", WHOLE, {**SAYS, "system_fingerprint": HUGE}, STOP
        ),
        _completed("id", "sends an `id` of 1 MB", "the answer under Weir's own id", {**SAYS, "id": HUGE}, STOP),
        _completed(
            "usage-member",
            "sends a usage with a member of 1 MB that OpenAI does not have",
            WHOLE,
            SAYS,
            STOP,
            chunk(usage={**USAGE, "note": HUGE}) | {"choices": []},
        ),
        _completed(
            "usage-members",
            "sends a usage of 100,000 members",
            WHOLE,
            SAYS,
            STOP,
            chunk(usage={**USAGE, **{f"n{i}": i for i in range(100_000)}}) | {"choices": []},
        ),
        _completed(
            "usage-nested",
            "sends a usage that is nested 100 levels deep",
            WHOLE,
            SAYS,
            STOP,
            chunk(usage={**USAGE, "deep": reduce(lambda inner, _: [inner], range(100), DEEPEST)}) | {"choices": []},
        ),
        _completed(
            "choices",
            "sends 1,000 choices, each with a `finish_reason` of 1,000 characters",
            WHOLE,
            SAYS,
            *({**STOP, "choices": [{"index": i, "delta": {}, "finish_reason": "z" * 1000}]} for i in range(1, 1000)),
            STOP,
            paths=UNTYPED,
        ),
    ),
)
