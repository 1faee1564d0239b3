"""What may stand in events of what people and models write: not much of it, and no keys or card numbers.

A net with wide meshes: it takes what has the shape of a secret. Who must not have prompts in events at all sets
EVENT_TEXT_MAX_CHARS to 0.
"""

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

HIDDEN: Final = "[redacted]"
MARGIN: Final = 512  # characters behind the cut that are looked at, so that a secret is seen whole

_SECRETS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,2000}\.[\w-]{8,8000}(?:\.[\w-]*)?"  # JSON Web Token, which may be cut
    r"|\b(?:sk|pk|rk)-[\w-]{16,}|\b(?:sk|pk|rk)_(?:live|test)_\w{16,}"  # OpenAI and its like, Stripe
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|\b(?:gh[opusr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|AIza)\w[\w-]{18,}"  # GitHub, GitLab, Slack, …
    r"|\b[Bb]earer\s+[\w.~+/-]{16,}=*"
    r"|(?i:\bauthorization)[\"'\\]*\s*[:=]\s*[\"'\\]*(?:\w+\s+)?[\w.~+/-]{8,}=*"
    r"|(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)"  # user and password in a URL
    r"|(?i:(?<=password)|(?<=passwd)|(?<=secret)|(?<=api_key)|(?<=api-key)|(?<=apikey)|(?<=_token)|(?<=-token))"
    r"\\?[\"']?\s*[:=]\s*\\?[\"']?[^\s\"',;\\]{4,200}",
    re.DOTALL,
)
# No secret without one of these: most texts are done with after looking for them.
_HINTS: Final = (
    "-----begin",
    "eyj",
    "sk-",
    "pk-",
    "rk-",
    "k_live",
    "k_test",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat",
    "xox",
    "hf_",
    "aiza",
    "bearer",
    "authorization",
    "://",
    "passw",
    "secret",
    "api_key",
    "api-key",
    "apikey",
    "_token",
    "-token",
)
_UPPER: Final = ("AKIA", "ASIA")
_CARD: Final = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")


def redacted(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text, without secrets; a cut one ends in an ellipsis."""
    if limit <= 0:
        return ""
    clean, whole = text[: limit + MARGIN], len(text) <= limit + MARGIN
    lower = clean.lower()
    if any(hint in lower for hint in _HINTS) or any(hint in clean for hint in _UPPER):
        clean = _SECRETS.sub(HIDDEN, clean)
    clean = _CARD.sub(_card, clean)
    if not whole:  # its end may be half a secret
        clean = clean[: max(0, len(clean) - MARGIN)]
    return clean if whole and len(clean) <= limit else clean[: limit - 1] + "…"


def without_credentials(url: str) -> str:
    """A URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _card(found: re.Match[str]) -> str:
    digits = [int(char) for char in found[0] if char.isdigit()]
    return HIDDEN if _luhn(digits) else found[0]


def _luhn(digits: list[int]) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1, annex B)."""
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
