"""Makes words out of a hash: endless, readable, and the same for the same seed."""

import hashlib
import re
from collections.abc import Iterable

# One sentence is one word from each slot, in order.
_SLOTS = [
    words.split()
    for words in (
        "A The Every No One Each This That",
        "quiet small patient honest steady early bright careful",
        "log stream reader token weir river partition writer",
        "keeps carries follows remembers passes repeats waits_for counts",
        "the a every its one each that another",
        "second gentle numbered plain open distant single last",
        "offset frame answer question record letter signal stone",
        "before after beside under behind without near past",
        "the a each every one some this that",
        "rain. gate. mill. bridge. restart. morning. harbour. silence.",
    )
]
_TOKEN = re.compile(r"\s*\S{1,10}|\s+")


def seed_of(parts: Iterable[str]) -> bytes:
    """A hash of a sequence of strings, 32 bytes.

    Half of an emoji (a lone surrogate) cannot be encoded; it hashes as an escape instead of failing.
    """
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(part.encode("utf-8", "backslashreplace"))
        digest.update(b"\0")
    return digest.digest()


def sentences(seed: bytes, count: int) -> list[str]:
    """Exactly `count` tokens of prose, each with its leading space, the last with a full stop."""
    picks = hashlib.shake_256(seed).digest(count)
    words = [_SLOTS[i % len(_SLOTS)][pick % 8] for i, pick in enumerate(picks)]
    tokens = [f" {word.replace('_', ' ')}" for word in words]
    if tokens:
        tokens[-1] = tokens[-1].rstrip(".") + "."
    return tokens


def tokens_of(text: str) -> list[str]:
    """A text as tokens that join to exactly this text: words with the space before them, long ones cut."""
    return _TOKEN.findall(text)


def cut(text: str, seed: bytes) -> list[str]:
    """A text in pieces of 1 to 5 characters that follow no word: where the cuts fall depends on the seed.

    No tag of 6 characters or more survives in one piece, which is what a parser of tags has to cope with.
    """
    sizes = hashlib.shake_256(seed).digest(len(text))
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + 1 + sizes[len(pieces)] % 5
        pieces.append(text[start:end])
        start = end
    return pieces
