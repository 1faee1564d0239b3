"""The fields in which servers put a model's thinking."""

from dataclasses import dataclass

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import Script, chunk, said


@dataclass(frozen=True, kw_only=True)
class ThinkingCase(Case):
    """An answer, the thinking in it, and its text."""

    script: Script
    thinking: str
    text: str


SHEET = Sheet(
    title="Thinking",
    about="Thinking reaches a reader apart from the answer, under the name that the server uses.",
    cases=(
        ThinkingCase(
            id="thinking-reasoning-content",
            peer="DeepSeek, vLLM, SGLang",
            does="sends it in `delta.reasoning_content`",
            gets="`reasoning_content`, as it came",
            script=said(
                chunk({"role": "assistant", "content": None, "reasoning_content": "Well"}),
                chunk({"reasoning_content": ", two."}),
                chunk({"content": "It is "}),
                chunk({"content": "2."}),
                chunk({}, "stop"),
            ),
            thinking="Well, two.",
            text="It is 2.",
        ),
        ThinkingCase(
            id="thinking-reasoning",
            peer="Ollama, OpenRouter",
            does="sends it in `delta.reasoning`",
            gets="`reasoning`, as it came",
            script=said(chunk({"reasoning": "Well, "}), chunk({"reasoning": "two."}), chunk({"content": "2"}, "stop")),
            thinking="Well, two.",
            text="2",
        ),
        ThinkingCase(
            id="thinking-tags",
            peer="servers without a reasoning parser",
            does="sends it between `<think>` tags, cut anywhere",
            gets="`reasoning_content`, without the tags",
            script=said(
                chunk({"content": "<thi"}),
                chunk({"content": "nk>Well, two.</th"}),
                chunk({"content": "ink>\n\n2"}),
                chunk({}, "stop"),
            ),
            thinking="Well, two.",
            text="2",
        ),
    ),
)
