import unicodedata

import pytest

from weir.replay.report.likeness import WORDS_MAX, likeness, words


def test_it_is_the_f1_of_the_longest_common_subsequence_of_words() -> None:
    # Lin 2004, section 3.1: the LCS with the reference is "police the gunman", or "the gunman"; 4 words each
    reference = "police killed the gunman"
    assert likeness(reference, "police kill the gunman") == 0.75
    assert likeness(reference, "the gunman kill police") == 0.5


def test_what_one_says_more_than_the_other_counts_against_both() -> None:
    assert (
        likeness("one two", "one two three four five six") == likeness("one two three four five six", "one two") == 0.5
    )


@pytest.mark.parametrize(
    ("original", "replay", "share"),
    [
        ("", "", 1),
        ("", "a word", 0),
        ("a word", "", 0),
        ("yes", "no", 0),
        ("Yes, it is!", "yes it is", 1),
        ("one\n\n two", "one two", 1),
        ("!!!", "???", 0),
        ("!!!", "!!!", 1),
        ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}", 0),
        ("STRASSE", "straße", 1),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), 1),
    ],
)
def test_case_blanks_and_punctuation_do_not_count(original: str, replay: str, share: float) -> None:
    assert likeness(original, replay) == share


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("don't stop-now", ["don", "t", "stop", "now"]),
        ("3.14 is_it", ["3", "14", "is", "it"]),
        ("¿Qué? «Sí» — naïve…", ["qué", "sí", "naïve"]),
        ("我喜欢 Kafka。", ["我", "喜", "欢", "kafka"]),
        ("カフカ、好き", ["カ", "フ", "カ", "好", "き"]),
        ("카프카를 좋아해", ["카프카를", "좋아해"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("Приве́т, мир", [unicodedata.normalize("NFC", "приве́т"), "мир"]),
        ("שלום عليكم", ["שלום", "عليكم"]),
        ("กข", ["ก", "ข"]),
    ],
)
def test_words_of_many_scripts(text: str, split: list[str]) -> None:
    assert words(text) == split


def test_a_chinese_answer_that_differs_in_one_character_is_nearly_the_same() -> None:
    assert likeness("今天天气很好", "今天天气不好") == pytest.approx(5 / 6)


def test_only_the_beginning_of_very_long_texts_is_compared() -> None:
    same = "word " * WORDS_MAX
    assert likeness(f"{same} one end", f"{same} another") == 1
    assert likeness(f"first {same}", same) == pytest.approx((WORDS_MAX - 1) / WORDS_MAX)
