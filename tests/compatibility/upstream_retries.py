"""Servers that fail once, twice or always, and how often each is called when the stock openai client asks."""

from dataclasses import dataclass

from tests.compatibility.cases import Case, Sheet
from tests.compatibility.upstream import Ends, Pause, Script, chunk, event, head, said, whole
from weir.envelope import Json

ROLE = event(chunk({"role": "assistant", "content": ""}))
ANSWER = said(chunk({"role": "assistant", "content": "It is 2."}), chunk({}, "stop"))
LIMITED: Json = {"error": {"message": "Slow down.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}
NO_MONEY: Json = {"error": {"message": "No money.", "type": "insufficient_quota", "code": "insufficient_quota"}}
REFUSED: Json = {"error": {"message": "No.", "type": "invalid_request_error"}}
TOO_MANY = "429 Too Many Requests"
BUSY = (whole({"error": {"message": "Busy."}}, "503 Service Unavailable"),)


@dataclass(frozen=True, kw_only=True)
class RetryCase(Case):
    """The response to each call (the last one repeats), and the result."""

    scripts: tuple[Script, ...]
    calls: int  # calls of the server: all tries of Weir and of the client together
    raises: str | None = None  # the openai client's exception; None: it gets the answer
    whole_calls: int | None = None  # the number of calls for a client that does not stream, if it is another one


SHEET = Sheet(
    title="Retries",
    about="The stock openai client tries a call up to three times, and so does Weir (UPSTREAM_RETRIES). Together "
    "they make three calls, not nine, because Weir marks calls that it has retried. Before the first token only.",
    cases=(
        RetryCase(
            id="retry-busy-twice",
            peer="any server under load",
            does="answers 503 twice, then the answer",
            gets="the answer, with three calls",
            scripts=(BUSY, BUSY, ANSWER),
            calls=3,
        ),
        RetryCase(
            id="retry-busy-always",
            peer="any server under load",
            does="answers 503 always",
            gets="the 503, after three calls",
            scripts=(BUSY,),
            calls=3,
            raises="InternalServerError",
        ),
        RetryCase(
            id="retry-limited-always",
            peer="OpenAI",
            does="answers 429 always, and names no time",
            gets="the 429, after three calls",
            scripts=((whole(LIMITED, TOO_MANY),),),
            calls=3,
            raises="RateLimitError",
        ),
        RetryCase(
            id="retry-limited-now",
            peer="OpenAI",
            does="answers 429 with `Retry-After: 0`, then the answer",
            gets="the answer, with two calls",
            scripts=((whole(LIMITED, TOO_MANY, retry_after="0"),), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-limited-ms",
            peer="Azure OpenAI",
            does="answers 429 with `retry-after-ms: 200`, then the answer",
            gets="the answer, with two calls",
            scripts=((whole(LIMITED, TOO_MANY, retry_after_ms="200"),), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-limited-long",
            peer="OpenAI",
            does="answers 429 with `Retry-After: 300`, which is longer than any wait here",
            gets="the 429 at once, after one call: the client does not wait so long, either",
            scripts=((whole(LIMITED, TOO_MANY, retry_after="300"),),),
            calls=1,
            raises="RateLimitError",
        ),
        RetryCase(
            id="retry-no-money",
            peer="OpenAI",
            does="answers 429 with `insufficient_quota`",
            gets="the 429, after one call",
            scripts=((whole(NO_MONEY, TOO_MANY),),),
            calls=1,
            raises="RateLimitError",
        ),
        RetryCase(
            id="retry-refused",
            peer="any server",
            does="refuses with a 400",
            gets="the 400, after one call",
            scripts=((whole(REFUSED, "400 Bad Request"),), ANSWER),
            calls=1,
            raises="BadRequestError",
        ),
        RetryCase(
            id="retry-told-to",
            peer="OpenAI",
            does="refuses with a 400 and `x-should-retry: true`, then answers",
            gets="the answer, with two calls",
            scripts=((whole(REFUSED, "400 Bad Request", x_should_retry="true"),), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-told-not-to",
            peer="OpenAI",
            does="answers 503 with `x-should-retry: false`",
            gets="the 503, after one call",
            scripts=((whole(REFUSED, "503 Service Unavailable", x_should_retry="false"),),),
            calls=1,
            raises="InternalServerError",
        ),
        RetryCase(
            id="retry-closed",
            peer="a server that is restarted",
            does="closes the connection before it answers, then answers",
            gets="the answer, with two calls",
            scripts=((), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-reset-after-role",
            peer="a server that is restarted",
            does="resets the connection after the role, then answers",
            gets="the answer, with two calls and one role",
            scripts=((head(), ROLE, Pause(0.1), Ends.RESET), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-in-stream",
            peer="OpenRouter",
            does="sends an error with code 429 in a 200 stream, after the role, then answers",
            gets="the answer, with two calls and one role",
            scripts=((head(), ROLE, event({"error": {"message": "Slow down.", "code": 429}})), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-in-stream-unnamed",
            peer="servers whose GPU has failed",
            does="sends an error without a status in a 200 stream, before the first token",
            gets="the 502, after one call",
            scripts=((head(), ROLE, event({"error": {"message": "CUDA error"}})), ANSWER),
            calls=1,
            raises="InternalServerError",
        ),
        RetryCase(
            id="retry-not-http",
            peer="another protocol on that port",
            does="answers with something that is no HTTP",
            gets="the 502, after one call",
            scripts=((b"-ERR unknown command\r\n\r\n",), ANSWER),
            calls=1,
            raises="InternalServerError",
        ),
        RetryCase(
            id="retry-redirected",
            peer="servers on FastAPI",
            does="redirects to another path of the same origin",
            gets="the answer, with two calls",
            scripts=((whole(b"", "307 Temporary Redirect", location="/v1/chat/completions/"),), ANSWER),
            calls=2,
        ),
        RetryCase(
            id="retry-redirected-for-ever",
            peer="proxies that are set up wrongly",
            does="redirects to itself",
            gets="a 502 that names the reason, after four calls",
            scripts=((whole(b"", "308 Permanent Redirect", location="/v1/chat/completions"),),),
            calls=4,
            raises="InternalServerError",
        ),
        RetryCase(
            id="retry-not-after-text",
            peer="a server that is restarted",
            does="breaks off in the middle of the answer, then answers",
            gets="an error in the stream after one call; a client that has seen nothing asks again by itself",
            scripts=((head(), event(chunk({"content": "It"})), Pause(0.2), Ends.RESET), ANSWER),
            calls=1,
            raises="APIError",
            whole_calls=2,
        ),
    ),
)
