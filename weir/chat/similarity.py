"""Compares two prompts by a number of 64 bits that reveals nothing else of them: a simhash (Charikar 2002).

Each shingle, a few characters in a row, votes with the bits of its hash; each bit of the simhash is what the majority
says. Texts that share most of their shingles differ in few bits, unrelated ones in about half.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

BITS: Final = 64
LANE_BITS: Final = 16  # bits of a counter: it can count more shingles than there are
WINDOW = 128  # characters that are hashed at the beginning, the middle and the end: this runs while a client waits
SHORTEST_BYTES = 12  # a shorter text ("ok", "yes", "continue") twice is not a retry

WIDTH, DENSE_WIDTH = 3, 2  # characters of a shingle; a CJK character carries as much as several letters
DENSE_FROM = "\u2e80"  # where CJK begins in Unicode

SAME_BITS = 12
"""Prompts that differ in at most so many bits are nearly the same.

Measured with the pairs of tests/unit/weir/chat/test_similarity.py: a typo, a politeness or a word more are 0 to 15
bits, unrelated prompts 18 and more. Pairs between are counted as different: a missed retry is better than a false one.
Two questions of one form ("the capital of France", "of Germany") can be as near as one that is asked again, so this
signal has little weight.
"""

_GAPS: Final = re.compile(r"[\W_]+")


def fingerprint(text: str) -> int | None:
    """Return the simhash of a text; None if the text is too short to compare."""
    words = _GAPS.sub(" ", unicodedata.normalize("NFKC", _clipped(text)).casefold()).strip()
    if len(words.encode("utf-8", "replace")) < SHORTEST_BYTES:
        return None
    width = DENSE_WIDTH if sum(c >= DENSE_FROM for c in words) * 2 > len(words) else WIDTH
    padded = f" {words} "
    shingles = {padded[at : at + width] for at in range(len(padded) - width + 1)}
    votes, majority, bits = sum(map(_lanes, shingles)), len(shingles) // 2, 0
    for bit in range(BITS):
        bits |= ((votes >> (bit * LANE_BITS)) % (1 << LANE_BITS) > majority) << bit
    return bits


def nearly_same(one: int, other: int) -> bool:
    """Whether two fingerprints are of nearly the same text."""
    return (one ^ other).bit_count() <= SAME_BITS


@lru_cache(maxsize=16_384)  # a language has some thousand common shingles
def _lanes(shingle: str) -> int:
    """Return the bits of a shingle's hash, each in a lane of its own: a sum of these counts all bits at once."""
    digest = hashlib.blake2b(shingle.encode("utf-8", "replace"), digest_size=BITS // 8).digest()
    digits = LANE_BITS // 4
    return int("".join(bit.zfill(digits) for bit in f"{int.from_bytes(digest):0{BITS}b}"), 16)


def _clipped(text: str) -> str:
    if len(text) <= 3 * WINDOW:
        return text
    middle = (len(text) - WINDOW) // 2
    return f"{text[:WINDOW]} {text[middle : middle + WINDOW]} {text[-WINDOW:]}"
