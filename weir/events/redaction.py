"""Cuts and redacts what people and models write before it goes into events: no keys and no personal numbers.

A net with wide meshes: it removes text that has the form of a secret. The setting REDACT lists the forms. An
installation that must not have prompts in events at all sets EVENT_TEXT_MAX_CHARS to 0.

Every pattern passes over a text once, whatever the text: a repetition is bounded, or its match takes all of it, or a
match begins only where a run of its characters begins.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from weir.envelope import Json
from weir.options import Redact

HIDDEN: Final = "[redacted]"
MARGIN: Final = 512  # characters behind the cut that are examined, so that a secret is seen whole


@dataclass(frozen=True, slots=True)
class Redactor:
    """Cuts and redacts the texts of events."""

    limit: int  # characters of a text; 0: none
    kinds: frozenset[Redact] = frozenset(Redact)

    def __call__(self, text: str) -> str:
        """At most ``limit`` characters of a text, without secrets; a text that was cut ends in an ellipsis."""
        if self.limit <= 0:
            return ""
        clean, whole = text[: self.limit + MARGIN], len(text) <= self.limit + MARGIN
        few_digits = sum(map(clean.count, "0123456789")) < _DIGITS_MIN
        for kind in Redact:
            if kind in self.kinds and not (few_digits and kind in _OF_DIGITS):
                clean = _HIDE[kind](clean)
        if not whole:  # its end may be half a secret
            clean = clean[: max(0, len(clean) - MARGIN)]
        return clean if whole and len(clean) <= self.limit else clean[: self.limit - 1] + "…"

    def error(self, error: Json) -> Json:
        """An error object for an event: LLM servers quote the request in the message, and in members of their own.

        FastAPI, for one, repeats the field that it refuses as ``detail[0].input``.
        """
        return {name: value if name in _NAMES else self._within(value) for name, value in error.items()}

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {name: self._within(member) for name, member in value.items()}
        return [self._within(member) for member in value] if isinstance(value, list) else value


_NAMES: Final = frozenset({"type", "param", "code", "status", "headers"})  # members of an error that are not text
_OF_DIGITS: Final = frozenset({Redact.CARDS, Redact.IBAN, Redact.SSN})
_DIGITS_MIN: Final = 9  # of the shortest of those: most texts are done with after counting digits

NOTHING: Final = Redactor(0)
"""A redactor that lets no text through."""


def without_credentials(url: str) -> str:
    """A URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


# -- keys

_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"  # JSON Web Token, or what is left of one
    r"|\b(?:sk|pk|rk)-[\w-]{16,}|\b(?:sk|pk|rk)_(?:live|test)_\w{16,}"  # OpenAI and its like, Stripe
    r"|\b(?:gh[opusr]_|github_pat_|glpat-|xox[abeoprs]-|hf_|AIza)\w[\w-]{18,}"  # GitHub, GitLab, Slack, …
    r"|\b[Bb]earer\s+[\w.~+/-]{16,}=*"
    r"|(?i:\bauthorization)[\"'\\]*\s*[:=]\s*[\"'\\]*(?:\w+\s+)?[\w.~+/-]{8,}=*"
    r"|(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)"  # user and password in a URL
    r"|(?i:(?<=password)|(?<=passwd)|(?<=secret)|(?<=api_key)|(?<=api-key)|(?<=apikey)|(?<=_token)|(?<=-token))"
    r"\\?[\"']?\s*[:=]\s*\\?[\"']?[^\s\"',;\\]{4,200}",
    re.DOTALL,
)
# No key without one of these: most texts are done with after looking for them.
_KEY_HINTS: Final = (
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


def _without_keys(text: str) -> str:
    lower = text.lower()
    return _KEY.sub(HIDDEN, text) if any(hint in lower for hint in _KEY_HINTS) else text


# -- AWS

_AWS_ID: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_AWS_SECRET: Final = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_AWS_SECRET_CHARS: Final = 40
_ENTROPY_MIN: Final = 4.2  # bits a character: a path of 40 letters has less, 40 random characters have 4.8


def _without_aws(text: str) -> str:
    if "AKIA" in text or "ASIA" in text:
        text = _AWS_ID.sub(HIDDEN, text)
    if max(map(len, text.split()), default=0) < _AWS_SECRET_CHARS:
        return text
    return _AWS_SECRET.sub(_aws_secret, text)


def _aws_secret(found: re.Match[str]) -> str:
    """Redacts a run of the right length that is random, and in both cases: a hexadecimal digest is in one case."""
    run = found[0]
    mixed = any(map(str.islower, run)) and any(map(str.isupper, run)) and any(map(str.isdigit, run))
    return HIDDEN if mixed and _entropy(run) >= _ENTROPY_MIN else run


def _entropy(text: str) -> float:
    """Shannon's entropy, in bits a character."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


# -- payment cards

_CARD: Final = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
_SEPARATORS: Final = str.maketrans("", "", " -")
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")  # of a doubled digit, the sum of its digits


def _without_cards(text: str) -> str:
    return _CARD.sub(_card, text)


def _card(found: re.Match[str]) -> str:
    digits = found[0].translate(_SEPARATORS)
    return HIDDEN if digits.isascii() and _luhn(digits.encode()) else found[0]


def _luhn(digits: bytes) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1, annex B)."""
    total = sum(digits[-1::-2]) + sum(digits[-2::-2].translate(_DOUBLED))
    return (total - 48 * len(digits)) % 10 == 0


# -- bank accounts

_IBAN: Final = re.compile(r"[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}")
# Characters of an IBAN by its country (registry of ISO 13616).
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}


_IBAN_DIGITS: Final = {ord(char): str(int(char, 36)) for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _without_ibans(text: str) -> str:
    """Examine each place where an account may begin: a run that is not one may contain one."""
    kept, done, found = list[str](), 0, _IBAN.search(text)
    while found is not None:
        end = _iban_end(found)
        if end:
            kept += (text[done : found.start()], HIDDEN)
            done = end
        found = _IBAN.search(text, end or found.start() + 2)
    return "".join((*kept, text[done:]))


def _iban_end(found: re.Match[str]) -> int:
    """The end of the account number at the beginning of a match; 0: there is none. Other words may follow it."""
    run, text = found[0], found.string
    length = _IBAN_LENGTHS.get(run[:2].upper(), 0)
    if not length or text[found.start() - 1 : found.start()].isalnum():
        return 0
    places = [place for place, char in enumerate(run) if char != " "]
    if length > len(places):
        return 0
    end = places[length - 1] + 1
    account = run[:end].replace(" ", "").upper()
    number = int((account[4:] + account[:4]).translate(_IBAN_DIGITS))
    end += found.start()
    return 0 if number % 97 != 1 or text[end : end + 1].isalnum() else end


# -- social security numbers

_SSN: Final = re.compile(r"[0-9]{3}([- ])[0-9]{2}\1[0-9]{4}(?![\w-])")  # characters before it are checked later
_SSN_NEVER: Final = re.compile(r"000|666|9|...[- ]00|.{7}0000")
_SSN_NAMED: Final = re.compile(r"((?:\bssn|social security n(?:umber|o))\W{1,5})[0-9]{9}(?![0-9])", re.IGNORECASE)


def _without_ssns(text: str) -> str:
    lower = text.lower()
    if "ssn" in lower or "social security" in lower:
        text = _SSN_NAMED.sub(rf"\1{HIDDEN}", text)
    return _SSN.sub(_ssn, text)


def _ssn(found: re.Match[str]) -> str:
    before = found.string[found.start() - 1 : found.start()]
    never = _SSN_NEVER.match(found[0]) or before in {"-", "_"} or before.isalnum()
    return found[0] if never else HIDDEN


# -- e-mail

_EMAIL: Final = re.compile(
    r"(?<![\w.%+'-])[\w.%+'-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)


def _without_emails(text: str) -> str:
    return _EMAIL.sub(HIDDEN, text) if "@" in text else text


_HIDE: Final[dict[Redact, Callable[[str], str]]] = {
    Redact.KEYS: _without_keys,
    Redact.AWS: _without_aws,
    Redact.IBAN: _without_ibans,
    Redact.CARDS: _without_cards,
    Redact.SSN: _without_ssns,
    Redact.EMAIL: _without_emails,
}
