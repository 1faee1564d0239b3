"""Retries of clients after a timeout: they send the request again, and pay for one answer."""

from dataclasses import dataclass, field
from typing import Literal

from tests.compatibility.cases import Case, Sheet
from weir.envelope import Json

OPENAI = "openai for Python and JavaScript"
MARKED = {"x-stainless-retry-count": "1"}


@dataclass(frozen=True, kw_only=True)
class RetryCase(Case):
    """A first try, its state at the retry, and the retry."""

    takes_s: float = 1.5  # the answer to the first try
    fails: int | None = None  # the status with which the LLM fails at the first call
    first: Json = field(default_factory=dict)  # fields of the first try
    first_headers: dict[str, str] = field(default_factory=dict)
    until: Literal["left", "ended", "cancelled", "read", "answered"] = "left"  # the state of the first try at the retry
    retry: Json | None = None  # fields of the retry; None: the same
    headers: dict[str, str] = field(default_factory=lambda: MARKED)  # of the retry
    attaches: bool = True  # whether the retry gets the answer of the first try


SHEET = Sheet(
    title="Retries of clients",
    about="A request that its client sends again because it timed out is answered by one LLM call, if the client marks "
    "the retry or has named the request. A request whose client still reads it is not taken for a first try. On "
    "both logs.",
    cases=(
        RetryCase(
            id="retry-while-the-answer-runs",
            peer=OPENAI,
            does="times out, closes the connection and sends the same body with `x-stainless-retry-count: 1`",
            gets="the answer of the first try, from its start; one LLM call",
        ),
        RetryCase(
            id="retry-counted-two",
            peer=OPENAI,
            does="does so for the second time, with `x-stainless-retry-count: 2`",
            gets="the answer of the first try",
            headers={"x-stainless-retry-count": "2"},
        ),
        RetryCase(
            id="retry-of-a-stream",
            peer=OPENAI,
            does="times out before the first token of a stream, and asks for the stream again",
            gets="the whole stream of the first try",
            first={"stream": True},
        ),
        RetryCase(
            id="retry-after-the-answer-ended",
            peer=OPENAI,
            does="sends the retry after a pause in which the answer has ended",
            gets="the stored answer of the first try",
            takes_s=0.8,
            first={"on_disconnect": "continue"},
            until="ended",
        ),
        RetryCase(
            id="retry-with-fields-of-its-own",
            peer=OPENAI,
            does="sends a body whose fields are in another order, and with another `username`",
            gets="the answer of the first try: the LLM would get the same request",
            retry={"username": "second", "temperature": 0.5},
            first={"temperature": 0.5},
        ),
        RetryCase(
            id="retry-in-a-tenant",
            peer=OPENAI,
            does="retries with the X-Tenant-ID of the first try",
            gets="the answer of the first try",
            first_headers={"X-Tenant-ID": "acme"},
            headers={**MARKED, "X-Tenant-ID": "acme"},
        ),
        RetryCase(
            id="retry-of-another-tenant",
            peer="any client",
            does="sends the body of another tenant's request as a retry",
            gets="an answer of its own",
            first_headers={"X-Tenant-ID": "acme"},
            headers={**MARKED, "X-Tenant-ID": "other"},
            attaches=False,
        ),
        RetryCase(
            id="retry-with-its-think-tags",
            peer="a client that takes <think> tags apart itself",
            does="retries with the X-Think-Tags of the first try",
            gets="the answer of the first try",
            first_headers={"X-Think-Tags": "keep"},
            headers={**MARKED, "X-Think-Tags": "keep"},
        ),
        RetryCase(
            id="retry-with-other-think-tags",
            peer="two clients with the same prompt, one of which takes <think> tags apart itself",
            does="one leaves its request with X-Think-Tags, the other retries one without",
            gets="an answer of its own, without tags",
            first_headers={"X-Think-Tags": "keep"},
            attaches=False,
        ),
        RetryCase(
            id="retry-with-another-body",
            peer="any client",
            does="sends another body as a retry",
            gets="an answer of its own",
            retry={"temperature": 0.9},
            attaches=False,
        ),
        RetryCase(
            id="retry-while-the-first-try-is-read",
            peer="two clients with the same prompt",
            does="one reads its answer while the other retries a request that never arrived",
            gets="an answer for each",
            until="read",
            attaches=False,
        ),
        RetryCase(
            id="retry-of-what-was-answered",
            peer="two clients with the same prompt",
            does="one has its answer when the other retries a request that never arrived",
            gets="an answer for each",
            takes_s=0.1,
            until="answered",
            attaches=False,
        ),
        RetryCase(
            id="retry-of-what-was-cancelled",
            peer=OPENAI,
            does="retries after the grace period, when its first try has been cancelled",
            gets="an answer of its own",
            takes_s=30.0,
            until="cancelled",
            attaches=False,
        ),
        RetryCase(
            id="retry-of-what-failed-for-now",
            peer=OPENAI,
            does="retries a request whose LLM call has failed with a 500 meanwhile",
            gets="an answer of its own: a retry may mend such an error",
            takes_s=0.8,
            fails=500,
            first={"on_disconnect": "continue"},
            until="ended",
            attaches=False,
        ),
        RetryCase(
            id="retry-of-what-failed-for-good",
            peer=OPENAI,
            does="retries a request that the LLM has refused with a 400 meanwhile",
            gets="the same 400, without another LLM call",
            takes_s=0.8,
            fails=400,
            first={"on_disconnect": "continue"},
            until="ended",
        ),
        RetryCase(
            id="retry-marked-zero",
            peer=OPENAI,
            does="sends a first try, which it marks `x-stainless-retry-count: 0`, though another one like it was left",
            gets="an answer of its own",
            headers={"x-stainless-retry-count": "0"},
            attaches=False,
        ),
        RetryCase(
            id="retry-marked-with-no-number",
            peer="any client",
            does="sends `x-stainless-retry-count: yes`",
            gets="an answer of its own",
            headers={"x-stainless-retry-count": "yes"},
            attaches=False,
        ),
        RetryCase(
            id="retry-unmarked",
            peer="httpx, requests, curl",
            does="sends the same body again without any mark",
            gets="an answer of its own: without a mark, a retry looks like a second question",
            headers={},
            attaches=False,
        ),
        RetryCase(
            id="retry-with-an-idempotency-key",
            peer="clients that send Idempotency-Key",
            does="sends the same key with both tries",
            gets="the answer of the first try, marked or not",
            first_headers={"Idempotency-Key": "once"},
            headers={"Idempotency-Key": "once"},
        ),
        RetryCase(
            id="retry-with-a-uid",
            peer="clients that send `uid`",
            does="sends the same uid with both tries",
            gets="the answer of the first try, marked or not",
            first={"uid": "retry-with-a-uid"},
            headers={},
        ),
    ),
)
