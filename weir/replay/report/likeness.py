"""ROUGE-L: how much of one text is in another, in the same order.

That is the F1 of the longest common subsequence of words (Lin 2004, "ROUGE: A Package for Automatic Evaluation of
Summaries", https://aclanthology.org/W04-1013/). It knows no synonyms: two good answers in other words are unlike.
"""

import re
import unicodedata
from itertools import islice
from typing import Final

from rapidfuzz.distance import LCSseq

WORDS_MAX: Final = 4_000
"""The most words of each text, from its beginning: some 5,000 tokens, more than nearly all answers have. Two such texts
take three milliseconds, which block the event loop, and the time grows with the product of their lengths."""

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_BETWEEN = (
    r"\s\x00-\x1f!-/:-@\[-`{-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\xd7\xf7"  # ASCII and Latin-1
    "\u2000-\u206f\u2e00-\u2e7f\u3001-\u3003\u3008-\u3020\u3030\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^{_BETWEEN}{_UNSPACED}]+")


def likeness(original: str, replay: str) -> float:
    """The similarity. 0: no word in common; 1: the same words in order. Case, blanks and punctuation do not count.

    Texts without any word are alike if they are the same.
    """
    left, right = words(original), words(replay)
    if not left and not right:
        return float(original == replay)
    return 2 * LCSseq.similarity(left, right) / (len(left) + len(right))


def words(text: str) -> list[str]:
    """The first ``WORDS_MAX`` words of a text.

    A run between blanks and punctuation is a word, whatever its characters: letters with their marks, digits, emoji.
    Scripts that are written without blanks between words (Chinese, Japanese, Thai, …) give a word per character.
    """
    folded = unicodedata.normalize("NFC", text).casefold()
    return [match.group() for match in islice(_WORD.finditer(folded), WORDS_MAX)]
