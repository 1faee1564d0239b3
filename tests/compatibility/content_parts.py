"""Content that is not a string."""

from dataclasses import dataclass
from typing import Any

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import Script, chunk, said, whole
from weir.envelope import Json


@dataclass(frozen=True, kw_only=True)
class PartsCase(Case):
    """An answer, its text, its thinking, and its other parts."""

    script: Script
    text: str
    thinking: str = ""
    parts: tuple[Json, ...] = ()


def contents(*given: Any) -> Script:
    """A streamed answer with these contents."""
    return said(
        chunk({"role": "assistant", "content": ""}), *(chunk({"content": one}) for one in given), chunk({}, "stop")
    )


def message(content: Any, **more: Any) -> Script:
    """A whole answer from a server that does not stream."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": "stop"}
    return (whole({"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}),)


def text(value: str) -> Json:
    return {"type": "text", "text": value}


def thinking(*values: str) -> Json:
    return {"type": "thinking", "thinking": [text(value) for value in values]}


IMAGE: Json = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
REFERENCE: Json = {"type": "reference", "reference_ids": [1, 2]}

SHEET = Sheet(
    title="Content in parts",
    about="Text parts are the text, thinking parts the thinking, on every path; other parts reach readers by HTTP in "
    "`content_parts`.",
    cases=(
        PartsCase(
            id="parts-text",
            peer="Mistral",
            does="sends the content as lists of text parts",
            gets="the text",
            script=contents([text("It ")], [text("is "), text("2")], [text(".")]),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-alternating",
            peer="Mistral",
            does="sends some pieces of the content as strings, some as lists of parts",
            gets="the text",
            script=contents("It ", [text("is ")], "2", [text(".")]),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-thinking",
            peer="Mistral's Magistral",
            does="sends thinking parts, then a string",
            gets="text and `reasoning_content`",
            script=contents([thinking("Well, ")], [thinking("two", ".")], "It is ", "2."),
            text="It is 2.",
            thinking="Well, two.",
        ),
        PartsCase(
            id="parts-thinking-and-text",
            peer="Mistral's Magistral",
            does="sends thinking and text in one list",
            gets="text and `reasoning_content`",
            script=contents([thinking("Well, two."), text("It is 2.")]),
            text="It is 2.",
            thinking="Well, two.",
        ),
        PartsCase(
            id="parts-thinking-string",
            peer="gateways to Anthropic",
            does="sends thinking parts whose thinking is a string",
            gets="text and `reasoning_content`",
            script=contents([{"type": "thinking", "thinking": "Well."}], [text("2")]),
            text="2",
            thinking="Well.",
        ),
        PartsCase(
            id="parts-reasoning",
            peer="servers in the shape of the Responses API",
            does="sends parts of type `reasoning` and `output_text`",
            gets="text and `reasoning_content`",
            script=contents([{"type": "reasoning", "text": "Well."}], [{"type": "output_text", "text": "2"}]),
            text="2",
            thinking="Well.",
        ),
        PartsCase(
            id="parts-reasoning-content-list",
            peer="gateways",
            does="sends `reasoning_content` as a list of parts",
            gets="text and `reasoning_content`",
            script=said(
                chunk({"reasoning_content": [text("Well, ")]}),
                chunk({"reasoning_content": "two."}),
                chunk({"content": "2"}),
                chunk({}, "stop"),
            ),
            text="2",
            thinking="Well, two.",
        ),
        PartsCase(
            id="parts-think-tags",
            peer="servers without a reasoning parser",
            does="sends `<think>` tags within text parts",
            gets="text and `reasoning_content`, without the tags",
            script=contents([text("<thi")], [text("nk>Well.</think>")], [text("2")]),
            text="2",
            thinking="Well.",
        ),
        PartsCase(
            id="parts-one-object",
            peer="broken servers",
            does="sends one part in the place of a list",
            gets="the text",
            script=contents(text("It is "), text("2.")),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-strings",
            peer="broken servers",
            does="sends lists of strings",
            gets="the text",
            script=contents(["It ", "is "], ["2."]),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-without-type",
            peer="proxies to Gemini",
            does="sends parts without a type",
            gets="the text",
            script=contents([{"text": "It is "}], [{"text": "2."}]),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-value",
            peer="servers in the shape of the Assistants API",
            does='sends `text` as `{"value": …, "annotations": []}`',
            gets="the text",
            script=contents([{"type": "text", "text": {"value": "It is 2.", "annotations": []}}]),
            text="It is 2.",
        ),
        PartsCase(
            id="parts-others",
            peer="Mistral, servers that draw",
            does="sends images and references among the text",
            gets="the text, and the other parts in `content_parts`",
            script=contents([text("Look: "), IMAGE], [text("there.")], [REFERENCE]),
            text="Look: there.",
            parts=(IMAGE, REFERENCE),
        ),
        PartsCase(
            id="parts-empty",
            peer="Mistral",
            does="sends empty lists",
            gets="the text",
            script=contents([], "2", [], [None]),
            text="2",
        ),
        PartsCase(
            id="parts-number",
            peer="broken servers",
            does="sends a number in the place of a text",
            gets="the text around it",
            script=contents("It is ", 2, True, "2."),
            text="It is 2.",
            parts=(2, True),  # type: ignore[arg-type]
        ),
        PartsCase(
            id="parts-not-streamed",
            peer="Mistral, without streaming",
            does="sends a message whose content is a list of parts",
            gets="text and `reasoning_content`",
            script=message([thinking("Well, two."), text("It is "), text("2.")]),
            text="It is 2.",
            thinking="Well, two.",
        ),
    ),
)
