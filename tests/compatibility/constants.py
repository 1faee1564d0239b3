"""Fields that a server sends in more chunks than one, and fields that are sent in pieces beside the text."""

from dataclasses import dataclass, field
from typing import Any

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import DONE, Script, chunk, event, head, said, whole
from weir.envelope import Json


@dataclass(frozen=True, kw_only=True)
class ConstantsCase(Case):
    """An answer, and fields of the whole object made from it."""

    script: Script
    text: str = "abc"
    top: Json = field(default_factory=dict)  # fields of the object
    message: Json = field(default_factory=dict)  # fields of the message of choice 0
    choice: Json = field(default_factory=dict)  # fields of choice 0 in the whole object
    others: tuple[str, ...] = ()  # the texts of choices 1 and following


def abc(first: Json, *more: Json, **fields: Any) -> Script:
    """An answer of three chunks, each with the fields of its delta besides its letter."""
    given = [first, *more] if more else [first] * 3
    deltas = [chunk({"content": letter, **one}, **fields) for letter, one in zip("abc", given, strict=True)]
    return said(*deltas, chunk({}, "stop", **fields))


def raw(*chunks: Json) -> Script:
    return (head(), *(event(one) for one in chunks), DONE)


def choice(letter: str, **fields: Any) -> Json:
    return {"index": 0, "delta": {"content": letter}, "finish_reason": None, **fields}


def block(**fields: Any) -> Json:
    return {"reasoning_details": [fields]}


def logs(*tokens: str) -> Json:
    return {"content": [{"token": token, "logprob": -1.0, "bytes": None, "top_logprobs": []} for token in tokens]}


TEXT_BLOCK: Json = {"type": "reasoning.text", "text": "Well, two.", "format": "anthropic-claude-v1", "signature": "s1"}
CITATION: Json = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}
CITATION_B: Json = {"type": "url_citation", "url_citation": {"url": "https://b.example", "title": "B"}}
VERDICT: Json = {"hate": {"filtered": False, "severity": "safe"}}

SHEET = Sheet(
    title="Repeated fields, and text in pieces",
    about="Pieces of text are joined; of any other field one value counts, however often a server repeats it. Streamed,"
    " stored and unstreamed answers agree.",
    cases=(
        ConstantsCase(
            id="once-role",
            peer="Ollama, vLLM, Groq",
            does="sends `role` in each chunk",
            gets="role assistant",
            script=abc({"role": "assistant"}),
        ),
        ConstantsCase(
            id="once-role-empty",
            peer="gateways in Go",
            does='sends `role: ""` in all chunks but the first',
            gets="role assistant",
            script=abc({"role": "assistant"}, {"role": ""}, {"role": ""}),
        ),
        ConstantsCase(
            id="once-role-null",
            peer="LiteLLM",
            does="sends `role: null` in all chunks but the first",
            gets="role assistant",
            script=abc({"role": "assistant"}, {"role": None}, {"role": None}),
        ),
        ConstantsCase(
            id="once-azure-ends-empty",
            peer="Azure OpenAI",
            does="sends a last chunk with empty `model`, `created` 0 and no choices",
            gets="model and time of the first chunks",
            script=said(
                *(chunk({"content": letter}) for letter in "abc"),
                chunk({}, "stop"),
                {"id": "", "object": "", "created": 0, "model": "", "choices": []},
            ),
            top={"model": "scripted", "created": 1700000000},
        ),
        ConstantsCase(
            id="once-azure-begins-empty",
            peer="Azure OpenAI",
            does="sends a first chunk with empty `model` and the verdict on the prompt",
            gets="model and time of the chunks after it, and the verdict",
            script=said(
                {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [VERDICT]},
                *(chunk({"content": letter}) for letter in "abc"),
                chunk({}, "stop"),
            ),
            top={"model": "scripted", "created": 1700000000, "prompt_filter_results": [VERDICT]},
        ),
        ConstantsCase(
            id="once-model-changes",
            peer="gateways that fall back",
            does="sends another `model` and `created` in each chunk",
            gets="the first ones",
            script=said(
                chunk({"content": "a"}, model="one", created=1),
                chunk({"content": "b"}, model="two", created=2),
                chunk({"content": "c"}, "stop", model="three", created=3),
            ),
            top={"model": "one", "created": 1},
        ),
        ConstantsCase(
            id="once-index-null",
            peer="servers with one choice",
            does="sends the index of the choice as null",
            gets="choice 0",
            script=raw(
                {"model": "m", "choices": [choice("a", index=None)]},
                {"model": "m", "choices": [choice("b", index=0)]},
                {"model": "m", "choices": [choice("c", index=None, finish_reason="stop")]},
            ),
        ),
        ConstantsCase(
            id="once-index-missing",
            peer="servers with one choice",
            does="sends no index of the choice",
            gets="choice 0",
            script=raw(
                *(
                    {"model": "m", "choices": [{"delta": {"content": letter}, "finish_reason": end}]}
                    for letter, end in (("a", None), ("b", None), ("c", "stop"))
                )
            ),
        ),
        ConstantsCase(
            id="once-two-choices",
            peer="vLLM with n=2",
            does="sends two choices by turns",
            gets="each by itself",
            script=said(
                chunk({"role": "assistant", "content": "a"}),
                chunk({"role": "assistant", "content": "x"}, index=1),
                chunk({"content": "b", "role": "assistant"}),
                chunk({"content": "y", "role": "assistant"}, index=1),
                chunk({"content": "c"}, "stop"),
                chunk({}, "stop", index=1),
            ),
            others=("xy",),
        ),
        ConstantsCase(
            id="once-perplexity-message",
            peer="Perplexity",
            does="sends the whole `message` so far beside each delta",
            gets="the deltas, and each reader the same",
            script=raw(
                {"model": "m", "choices": [choice("a", message={"role": "assistant", "content": "a"})]},
                {"model": "m", "choices": [choice("b", message={"role": "assistant", "content": "ab"})]},
                {
                    "model": "m",
                    "choices": [choice("c", message={"role": "assistant", "content": "abc"}, finish_reason="stop")],
                },
            ),
        ),
        ConstantsCase(
            id="once-message-for-delta",
            peer="servers that only pretend to stream",
            does="sends one event with a `message` in the place of a delta",
            gets="the text",
            script=raw(
                {
                    "model": "m",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": "abc"}, "finish_reason": "stop"}
                    ],
                }
            ),
        ),
        ConstantsCase(
            id="once-details",
            peer="OpenRouter with Anthropic",
            does="sends a block of thinking in pieces, and repeats type and format",
            gets="one block, whose type and format are said once",
            script=abc(
                block(type="reasoning.text", text="Well, ", format="anthropic-claude-v1", index=0),
                block(type="reasoning.text", text="two.", format="anthropic-claude-v1", index=0),
                block(type="reasoning.text", signature="s1", format="anthropic-claude-v1", index=0),
            ),
            message={"reasoning_details": [TEXT_BLOCK]},
        ),
        ConstantsCase(
            id="once-details-ids",
            peer="OpenRouter with OpenAI",
            does="sends two blocks with the same index, and an id each",
            gets="two blocks",
            script=abc(
                block(type="reasoning.summary", summary="Well, ", id="rs_1", index=0),
                block(type="reasoning.summary", summary="two.", id="rs_1", index=0),
                block(type="reasoning.summary", summary="So.", id="rs_2", index=0),
            ),
            message={
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "Well, two.", "id": "rs_1"},
                    {"type": "reasoning.summary", "summary": "So.", "id": "rs_2"},
                ]
            },
        ),
        ConstantsCase(
            id="once-details-types",
            peer="OpenRouter with OpenAI",
            does="sends a summary and an encrypted block with the same index",
            gets="two blocks",
            script=abc(
                block(type="reasoning.summary", summary="Well.", id=None, index=0),
                block(type="reasoning.encrypted", data="gAAA", id="rs_1", index=0),
                {},
            ),
            message={
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "Well.", "id": None},
                    {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1"},
                ]
            },
        ),
        ConstantsCase(
            id="once-details-without-index",
            peer="gateways to Anthropic",
            does="sends pieces of a block without an index",
            gets="one block up to its signature, then the next",
            script=abc(
                {"thinking_blocks": [{"type": "thinking", "thinking": "Well, "}]},
                {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "two."},
                        {"type": "thinking", "signature": "s1"},
                    ]
                },
                {"thinking_blocks": [{"type": "thinking", "thinking": "So."}]},
            ),
            message={
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "Well, two.", "signature": "s1"},
                    {"type": "thinking", "thinking": "So."},
                ]
            },
        ),
        ConstantsCase(
            id="once-annotations",
            peer="OpenRouter with web search",
            does="sends annotations in more than one delta, without an index",
            gets="all of them, in order",
            script=abc({"annotations": [CITATION]}, {}, {"annotations": [CITATION_B]}),
            message={"annotations": [CITATION, CITATION_B]},
        ),
        ConstantsCase(
            id="once-audio",
            peer="OpenAI with sound",
            does="sends sound and its transcript in pieces, repeats the id",
            gets="sound and transcript joined, the id once",
            script=abc(
                {"audio": {"id": "audio_1", "data": "AAAA", "transcript": "a"}},
                {"audio": {"id": "audio_1", "data": "BBBB", "expires_at": 1700000001}},
                {"audio": {"transcript": "b", "expires_at": 1700000001}},
            ),
            message={"audio": {"id": "audio_1", "data": "AAAABBBB", "transcript": "ab", "expires_at": 1700000001}},
        ),
        ConstantsCase(
            id="once-unknown-string",
            peer="servers with fields of their own",
            does="repeats a string that is no text, and a number",
            gets="each once",
            script=abc({"provider": "x-1", "shard": 7}),
            message={"provider": "x-1", "shard": 7},
        ),
        ConstantsCase(
            id="once-refusal",
            peer="OpenAI",
            does="sends a refusal in pieces",
            gets="the refusal; in the headers of a queue's last message, too",
            script=said(chunk({"role": "assistant", "refusal": "I "}), chunk({"refusal": "won't."}), chunk({}, "stop")),
            text="",
            message={"refusal": "I won't."},
        ),
        ConstantsCase(
            id="once-logprobs",
            peer="vLLM, OpenAI",
            does="sends logprobs with each token, null in the last chunk",
            gets="the logprobs of all tokens",
            script=raw(
                *({"model": "m", "choices": [choice(letter, logprobs=logs(letter))]} for letter in "abc"),
                {"model": "m", "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]},
            ),
            choice={"logprobs": logs("a", "b", "c")},
        ),
        ConstantsCase(
            id="once-verdict",
            peer="Azure OpenAI",
            does="repeats the verdict of its filter with each chunk",
            gets="the last verdict",
            script=raw(
                *({"model": "m", "choices": [choice(letter, content_filter_results=VERDICT)]} for letter in "abc"),
                {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            ),
            choice={"content_filter_results": VERDICT},
        ),
        ConstantsCase(
            id="once-delta-null",
            peer="servers that end with a bare finish reason",
            does="sends `delta: null`, or none, with the finish reason",
            gets="the text",
            script=raw(
                {"model": "m", "choices": [choice("ab", delta={"content": "ab"})]},
                {"model": "m", "choices": [choice("", delta=None)]},
                {"model": "m", "choices": [choice("c")]},
                {"model": "m", "choices": [{"index": 0, "finish_reason": "stop"}]},
            ),
        ),
        ConstantsCase(
            id="once-not-streamed",
            peer="a server that does not stream",
            does="sends an index of null, details and annotations in one message",
            gets="them, as they came",
            script=(
                whole(
                    {
                        "id": "cmpl-1",
                        "object": "chat.completion",
                        "created": 5,
                        "model": "m",
                        "choices": [
                            {
                                "index": None,
                                "finish_reason": "stop",
                                "message": {
                                    "role": "assistant",
                                    "content": "abc",
                                    "annotations": [CITATION, CITATION_B],
                                    "reasoning_details": [{**TEXT_BLOCK, "index": 0}],
                                },
                            }
                        ],
                    }
                ),
            ),
            top={"model": "m", "created": 5},
            message={"annotations": [CITATION, CITATION_B], "reasoning_details": [TEXT_BLOCK]},
        ),
    ),
)
