import random

import pytest

from weir.feedback.distance import AT_ONCE, cells, levenshtein, normalised


def by_the_book(one: str, other: str) -> int:
    """The matrix, row by row."""
    above = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        here = [row]
        for column, right in enumerate(other, 1):
            here.append(min(above[column] + 1, here[-1] + 1, above[column - 1] + (left != right)))
        above = here
    return above[-1]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("水木", "水土木", 1), ("abc", "xyz", 3)],
)
def test_known_distances(one: str, other: str, distance: int) -> None:
    assert levenshtein(one, other) == distance


def test_it_is_what_the_matrix_says_for_any_two_texts() -> None:
    dice = random.Random(7)
    for _ in range(500):
        one, other = ("".join(dice.choices("abc水", k=dice.randint(0, 14))) for _ in range(2))
        assert levenshtein(one, other) == by_the_book(one, other), (one, other)


def test_texts_longer_than_a_machine_word() -> None:
    dice = random.Random(8)
    one, other = ("".join(dice.choices("abcdef ", k=150)) for _ in range(2))
    assert levenshtein(one, other) == by_the_book(one, other)


@pytest.mark.parametrize(
    ("one", "other", "share"), [("", "", 0), ("ab", "ab", 0), ("ab", "cd", 1), ("ab", "abcd", 0.5), ("", "x", 1)]
)
def test_it_is_a_share_of_the_longer_text(one: str, other: str, share: float) -> None:
    assert normalised(one, other) == share


def test_what_is_the_same_at_both_ends_costs_nothing() -> None:
    long = "weir " * 4000
    assert cells(f"{long}a{long}", f"{long}bc{long}") == 2
    assert cells("a" * 2000, "b" * 2000) > AT_ONCE
