"""Usage, as servers count it or do not, and usage that is too large for the header of a queue."""

from dataclasses import dataclass

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.paths import PathName
from tests.compatibility.upstream import Script, chunk, said, whole
from weir.envelope import Json


@dataclass(frozen=True, kw_only=True)
class UsageCase(Case):
    """An answer, and its usage."""

    script: Script
    usage: Json | None
    input: int | None = None  # tokens in traces and metrics
    output: int | None = None
    thinking: int | None = None
    only: tuple[PathName, ...] | None = None  # paths; None: all
    omitted: tuple[str, ...] = ()  # headers that a queue's last message cannot carry


PLAIN: Json = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
PRICED: Json = {**PLAIN, "cost": 0.1, "cost_details": {"upstream_inference_cost": 0.000123, "shares": [0.3, 1e-9]}}


def two(usage: Json | None = None, **more: object) -> Script:
    """An answer with its usage in a last chunk without choices; no such chunk without usage."""
    chunks = [chunk({"role": "assistant", "content": "2"}), chunk({}, "stop")]
    if usage is not None or more:
        chunks.append({**chunk(), "choices": [], "usage": usage, **more})
    return said(*chunks)


def message(**top: object) -> Script:
    choice = {"index": 0, "message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}
    body = {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **top}
    return (whole(body),)


SHEET = Sheet(
    title="Usage",
    about="The server's counts reach each reader to the last digit; a missing count is null in answers and traces, and "
    "never 0. The header `omitted` names values that are too large for a header of AMQP.",
    cases=(
        UsageCase(
            id="usage-last-chunk",
            peer="OpenAI, vLLM",
            does="sends usage in a last chunk without choices",
            gets="that usage",
            script=two(PLAIN),
            usage=PLAIN,
            input=3,
            output=5,
        ),
        UsageCase(
            id="usage-details",
            peer="OpenAI",
            does="sends details of the tokens",
            gets="usage with its details",
            script=two(
                {
                    **PLAIN,
                    "prompt_tokens_details": {"cached_tokens": 1},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                }
            ),
            usage={
                **PLAIN,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            input=3,
            output=5,
            thinking=2,
        ),
        UsageCase(
            id="usage-none",
            peer="servers that know no stream_options",
            does="sends no usage",
            gets="null",
            script=two(),
            usage=None,
        ),
        UsageCase(
            id="usage-null",
            peer="OpenAI in all chunks but the last, some gateways in all",
            does="sends `usage: null` in each chunk",
            gets="null",
            script=said(chunk({"content": "2"}, usage=None), chunk({}, "stop", usage=None)),
            usage=None,
        ),
        UsageCase(
            id="usage-counted-as-nothing",
            peer="servers that count nothing of a cached answer",
            does="counts 0 output tokens",
            gets="0, which was counted",
            script=two({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}),
            usage={"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
            input=3,
            output=0,
        ),
        UsageCase(
            id="usage-running",
            peer="vLLM with continuous_usage_stats",
            does="sends the usage so far with each chunk",
            gets="the last one",
            script=said(
                chunk({"content": "2"}, usage={"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}),
                chunk({}, "stop", usage=PLAIN),
            ),
            usage=PLAIN,
            input=3,
            output=5,
        ),
        UsageCase(
            id="usage-floats",
            peer="OpenRouter",
            does="sends the cost of the answer, as floats",
            gets="the same floats; in the headers of a queue, too",
            script=two(PRICED),
            usage=PRICED,
            input=3,
            output=5,
        ),
        UsageCase(
            id="usage-in-part",
            peer="servers that count the output only",
            does="counts no tokens of the prompt",
            gets="what was counted; the rest is null in traces",
            script=two({"completion_tokens": 5}),
            usage={"completion_tokens": 5},
            output=5,
            only=("json", "rabbitmq", "rabbitmq-whole"),  # the openai client's types want all three sums
        ),
        UsageCase(
            id="usage-not-streamed",
            peer="a server that does not stream",
            does="sends usage in its one object",
            gets="that usage",
            script=message(usage=PLAIN),
            usage=PLAIN,
            input=3,
            output=5,
        ),
        UsageCase(
            id="usage-not-streamed-none",
            peer="a server that does not stream",
            does="sends no usage",
            gets="null",
            script=message(),
            usage=None,
        ),
        UsageCase(
            id="usage-refusal-too-large",
            peer="models that refuse at length",
            does="sends a refusal of more than 32 KiB",
            gets="the refusal by HTTP; the last message of a queue names it in `omitted`",
            script=said(chunk({"refusal": "x" * 40_000}), chunk({}, "stop")),
            usage=None,
            omitted=("refusal",),
        ),
        UsageCase(
            id="usage-calls-too-large",
            peer="models that write files by tool calls",
            does="calls a tool with arguments of more than 32 KiB",
            gets="the call by HTTP; the last message of a queue names it in `omitted`",
            script=said(
                chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "x" * 40_000}}]}),
                chunk({}, "stop"),
            ),
            usage=None,
            omitted=("tool_calls",),
        ),
    ),
)
