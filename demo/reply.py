"""One reply: its model, the content of each choice, its usage; and the form that it has without streaming."""

import time
import uuid
import zlib
from dataclasses import dataclass

import orjson

from demo.messages import messages_of, text_of
from demo.request import Question
from demo.text import Script, script

FINGERPRINT = "fp_demo_model_not_a_real_llm"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The content of a response."""

    id: str  # new for every call, so that two calls can be told apart
    created: int  # Unix time, seconds
    question: Question
    scripts: list[Script]  # one per choice


def reply_to(question: Question) -> Reply:
    """The reply to a question, complete before its first byte is sent."""
    return Reply(
        id=f"chatcmpl-demo-{uuid.uuid4().hex}",
        created=int(time.time()),
        question=question,
        scripts=[script(question.body, index) for index in range(question.n)],
    )


def head(reply: Reply, kind: str) -> dict[str, object]:
    """The members that every chunk and the whole completion have in common."""
    return {
        "id": reply.id,
        "object": kind,
        "created": reply.created,
        "model": reply.question.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def usage(reply: Reply) -> dict[str, object]:
    """OpenAI's usage object: tokens of the prompt (guessed at 4 characters each) and of all choices."""
    prompt = sum(4 + len(text_of(message)) // 4 for message in messages_of(reply.question.body))
    completion = sum(said.completion_tokens for said in reply.scripts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(said.thinking) for said in reply.scripts),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def logprobs(tokens: list[str], top: int) -> dict[str, object]:
    """The logprobs object of content tokens; the values come out of the token, the alternatives are made up."""
    entries = []
    for token in tokens:
        value = -(zlib.crc32(token.encode()) % 1000) / 1000
        options = [(token, value)] + [(f"{token}~{rank}", value - rank) for rank in range(1, top)]
        entries.append(_logprob(token, value) | {"top_logprobs": [_logprob(*pair) for pair in options[:top]]})
    return {"content": entries, "refusal": None}


def _logprob(token: str, value: float) -> dict[str, object]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def completion(reply: Reply) -> bytes:
    """The chat.completion object as JSON: the answer to a request without `stream`."""
    whole = head(reply, "chat.completion")
    whole["choices"] = [_choice(reply, index, said) for index, said in enumerate(reply.scripts)]
    if reply.question.mode.usage:
        whole["usage"] = usage(reply)
    return orjson.dumps(whole)


def _choice(reply: Reply, index: int, said: Script) -> dict[str, object]:
    question = reply.question
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if said.tool_call else "".join(said.content),
        "refusal": None,
        "annotations": [],
    }
    if question.mode.thinking and not said.inline and said.thinking:
        message[question.mode.thinking.value] = "".join(said.thinking)
    if call := said.tool_call:
        function = {"name": call.name, "arguments": "".join(call.arguments)}
        message["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs(said.content, question.top_logprobs) if question.logprobs else None,
        "finish_reason": said.finish_reason,
    }
