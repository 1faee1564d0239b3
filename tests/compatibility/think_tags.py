"""Thinking in tags: split out by Weir, or by a client that does so itself."""

from dataclasses import dataclass, field

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import Script, chunk, said

TAGGED = said(
    chunk({"role": "assistant", "content": "<thi"}),
    chunk({"content": "nk>Well, two.</think>\n\n2"}),
    chunk({}, "stop"),
)
SPLIT, KEPT = ("Well, two.", "2"), ("", "<think>Well, two.</think>\n\n2")


@dataclass(frozen=True, kw_only=True)
class TagsCase(Case):
    """An answer, the request's choice, and (thinking, text)."""

    script: Script = TAGGED
    headers: dict[str, str] = field(default_factory=dict)
    gets_parts: tuple[str, str]


SHEET = Sheet(
    title="Think tags",
    about="THINK_TAGS decides what becomes of `<think>` tags, and X-Think-Tags decides it for one request, by HTTP and "
    "by RabbitMQ; here THINK_TAGS is `keep`.",
    cases=(
        TagsCase(
            id="tags-by-setting",
            peer="frameworks with an extractor of their own (LangChain, Vercel AI SDK)",
            does="looks for the tags itself",
            gets="the text with its tags, as the model said it",
            gets_parts=KEPT,
        ),
        TagsCase(
            id="tags-split-by-header",
            peer="a client that wants `reasoning_content`",
            does="sends `X-Think-Tags: split`",
            gets="thinking apart from text",
            headers={"X-Think-Tags": "split"},
            gets_parts=SPLIT,
        ),
        TagsCase(
            id="tags-kept-by-header",
            peer="a client that takes tags apart itself",
            does="sends `x-think-tags: KEEP`",
            gets="the text with its tags",
            headers={"x-think-tags": "KEEP"},
            gets_parts=KEPT,
        ),
        TagsCase(
            id="tags-kept-beside-reasoning",
            peer="DeepSeek, vLLM",
            does="sends its thinking in `reasoning_content`, to a client that keeps tags",
            gets="`reasoning_content`, as it came",
            script=said(chunk({"reasoning_content": "Well, two."}), chunk({"content": "2"}), chunk({}, "stop")),
            gets_parts=SPLIT,
        ),
    ),
)
