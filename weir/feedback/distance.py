"""Computes how much of a text a correction changed: the edit distance."""

AT_ONCE = 1_000_000  # cells of the comparison that take about a millisecond: a larger one must not block the event loop


def normalised(original: str, corrected: str) -> float:
    """Return the Levenshtein distance in characters (insert, delete, replace), by the length of the longer text.

    0: the same; 1: nothing in common. Characters are Unicode code points; blanks and case count as any other.
    """
    longer = max(len(original), len(corrected))
    return levenshtein(original, corrected) / longer if longer else 0.0


def cells(original: str, corrected: str) -> int:
    """Return the number of cells to compare, once the common beginning and end are left out."""
    left, right = _differing(original, corrected)
    return len(left) * len(right)


def levenshtein(one: str, other: str) -> int:
    """Return the fewest characters to insert, delete or replace that make ``other`` of ``one``.

    A whole column of the usual matrix is two integers, one bit a row (Myers 1999, in Hyyrö's form of 2003), so it takes
    as many steps as the shorter text has characters, on integers of as many bits as the longer one has: 20,000
    characters against as many are a quarter of a second.

    rapidfuzz takes a tenth of that, but lets no other thread run meanwhile: two Chinese texts as long as
    FEEDBACK_TEXT_MAX may allow would block every stream of the worker for seconds. These steps are short ones.
    """
    one, other = sorted(_differing(one, other), key=len, reverse=True)  # fewer steps, on longer integers
    if not one or not other:
        return len(one) + len(other)
    where: dict[str, int] = {}
    for place, character in enumerate(one):
        where[character] = where.get(character, 0) | 1 << place
    all_rows, last_row = (1 << len(one)) - 1, 1 << (len(one) - 1)
    rises, falls, distance = all_rows, 0, len(one)  # rows that are one more, or less, than the row above
    for character in other:
        same = where.get(character, 0)
        diagonal = (((same & rises) + rises) ^ rises) | same
        more = falls | (all_rows & ~(diagonal | rises))  # rows that are one more than in the column before
        less = rises & diagonal
        distance += bool(more & last_row) - bool(less & last_row)
        more, less = more << 1 | 1, less << 1
        vertical = same | falls
        rises = (less | ~(vertical | more)) & all_rows
        falls = more & vertical & all_rows
    return distance


def _differing(one: str, other: str) -> tuple[str, str]:
    """Return both texts without their common beginning and end, which a correction mostly keeps."""
    shorter, begin, end = min(len(one), len(other)), 0, 0
    while begin < shorter and one[begin] == other[begin]:
        begin += 1
    while end < shorter - begin and one[-1 - end] == other[-1 - end]:
        end += 1
    return one[begin : len(one) - end], other[begin : len(other) - end]
