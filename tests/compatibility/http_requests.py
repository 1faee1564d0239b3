"""Invalid HTTP from clients, byte for byte, and the responses."""

import gzip
import zlib
from dataclasses import dataclass
from typing import Final

from tests.compatibility.cases import Case, Sheet

BODY: Final = b'{"model": "any", "deadline_s": 5, "user": "a client that has forgotten its messages"}'
PACKED: Final = gzip.compress(BODY)
DAMAGED: Final = PACKED[:20] + b"\x00\xff\x00" + PACKED[23:]
DIGITS: Final = "9" * 5000  # more than Python turns into a number
LONG: Final = "x" * 100_000
JSON: Final = "Content-Type: application/json"
READ: Final = "missing_required"  # the missing parameter is only found when the body was read
LATE: Final = ("request_timeout", 408)
UNKNOWN: Final = (415, "unsupported_content_encoding")
HEADER_S, BODY_S, CONNECTIONS = 2.0, 2.0, 40  # limits of the worker


@dataclass(frozen=True, kw_only=True)
class HttpCase(Case):
    """Bytes of one connection, and the status and error code of the response."""

    raw: bytes
    status: int
    code: str | None = None  # None: no error
    param: str | None = None
    then: bytes = b""  # sent after the response
    closes: bool = False  # whether the connection ends with the response


GZIP, DEFLATE = "Content-Encoding: gzip", "Content-Encoding: deflate"


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def _post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    named = ["Host: weir", "Content-Type: application/json", f"Content-Length: {size}"]
    return _head("POST /v1/chat/completions HTTP/1.1", *named, *headers) + body


def _get(path: str, *headers: str) -> bytes:
    return _head(f"GET {path} HTTP/1.1", "Host: weir", *headers)


def _no_http(name: str, does: str, raw: bytes, code: str = "bad_request", status: int = 400) -> HttpCase:
    return HttpCase(
        id=f"http-{name}",
        peer="any client",
        does=f"sends {does}",
        gets=f"{status} `{code}`, in OpenAI's shape; the connection ends",
        raw=raw,
        status=status,
        code=code,
        closes=True,
    )


def _encoded(name: str, does: str, raw: bytes, status: int = 400, code: str = READ) -> HttpCase:
    gets = "the body is read" if code == READ else f"{status} `{code}`"
    peer = "any client"
    return HttpCase(id=f"body-{name}", peer=peer, does=f"sends {does}", gets=gets, raw=raw, status=status, code=code)


def _query(path: str, param: str, name: str, value: str) -> HttpCase:
    shown = value if len(value) < 30 else f"{len(value)} digits"
    return HttpCase(
        id=f"query-{name}",
        peer="any client",
        does=f"asks {path} with `{param}={shown}`",
        gets=f"400 that names `{param}`",
        raw=_get(f"{path}?{param}={value}"),
        status=400,
        param=param,
    )


_NUMBERS: Final = {
    "of-5000-digits": DIGITS,
    "zero": "0",
    "negative": "-1",
    "above-the-most": "1001",
    "empty": "",
    "a-word": "many",
    "a-fraction": "1.5",
    "in-other-digits": "%D9%A3",  # Arabic 3, which Python's int() takes
    "with-an-exponent": "1e2",
    "superscript": "%C2%B2",  # isdigit() is true, int() raises
    "with-underscores": "1_0",
    "padded": "+10",
}
_VIEWS: Final = ("/requests", "/insights")

SHEET = Sheet(
    title="HTTP requests",
    about="A malformed HTTP request gets an error in OpenAI's shape, with the parameter "
    "named where there is one. The bytes of each case are sent to a worker as they are.",
    cases=(
        _no_http("garbage", "bytes that are no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"),
        _no_http("version-nine", "HTTP/9.9", _head("GET /ping HTTP/9.9", "Host: weir")),
        _no_http("header-without-colon", "a header line without a colon", _head("GET /ping HTTP/1.1", "Host")),
        _no_http("two-lengths", "two different lengths", _post(b"ab", "Content-Length: 1")),
        _no_http("length-a-word", "a length that is no number", _get("/x", "Content-Length: two")),
        _no_http("length-negative", "a negative length", _get("/x", "Content-Length: -1")),
        _no_http("long-header", "a header of 100 KB", _get("/ping", f"X: {LONG}"), "headers_too_large", 431),
        _no_http("long-path", "a path of 100 KB", _get(f"/{LONG}"), "headers_too_large", 431),
        _no_http("headers-that-stop", "half its headers, and no more", b"GET /ping HTTP/1.1\r\nHo", *LATE),
        _no_http("nothing", "nothing at all", b"", *LATE),
        HttpCase(
            id="http-second-request-that-stops",
            peer="any client",
            does="sends a whole request, and after its response half of another one",
            gets="the response to the first one, and 408 `request_timeout`",
            raw=_get("/ping"),
            then=b"GET /ping HTTP/1.1\r\nHo",
            status=200,
            closes=True,
        ),
        _encoded("gzip", "a body in gzip", _post(PACKED, GZIP)),
        _encoded("deflate", "a body in deflate", _post(zlib.compress(BODY), DEFLATE)),
        _encoded("identity", "`Content-Encoding: identity`", _post(BODY, "Content-Encoding: identity")),
        _encoded("false-gzip", "plain JSON as gzip", _post(BODY, GZIP), 400, "invalid_body"),
        _encoded("false-deflate", "plain JSON as deflate", _post(BODY, DEFLATE), 400, "invalid_body"),
        _encoded("cut-gzip", "the first half of a body in gzip", _post(PACKED[:30], GZIP), 400, "invalid_json"),
        _encoded("broken-gzip", "a body in gzip with damaged bytes", _post(DAMAGED, GZIP), 400, "invalid_body"),
        _encoded("unknown-encoding", "an encoding that is not known", _post(BODY, "Content-Encoding: rot13"), *UNKNOWN),
        _encoded("two-encodings", "two encodings at once", _post(BODY, "Content-Encoding: gzip, gzip"), *UNKNOWN),
        _encoded(
            "gzip-bomb",
            "100 MB of spaces in gzip, 100 KB on the wire",
            _post(gzip.compress(b" " * 100_000_000), GZIP),
            413,
            "request_too_large",
        ),
        _encoded(
            "that-stops",
            "half of its body, and no more",
            _post(BODY[:20], length=len(BODY)),
            408,
            "request_timeout",
        ),
        _encoded(
            "bad-chunks",
            "a chunk whose size is no number",
            _head("POST /v1/chat/completions HTTP/1.1", "Host: w", JSON, "Transfer-Encoding: chunked")
            + b"zz\r\n{}\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        HttpCase(
            id="http-unknown-expectation",
            peer="any client",
            does="sends `Expect: the-unexpected`",
            gets="417, in OpenAI's shape",
            raw=_post(BODY, "Expect: the-unexpected"),
            status=417,
            code="http_error",
        ),
        *(
            _query(path, "limit", f"{path.strip('/')}-limit-{name}", value)
            for path in _VIEWS
            for name, value in _NUMBERS.items()
        ),
    ),
)
