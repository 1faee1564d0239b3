"""Prompts that are nearly the same, and prompts that are not."""

# ruff: noqa: RUF001 -- Chinese has its own punctuation

import time

import pytest

from weir.chat.similarity import fingerprint, nearly_same

KNIGHT = "Tell me a short story about a brave knight."
REVENUE = "Show me total revenue by region for last quarter"

NEAR = [
    (KNIGHT, KNIGHT),
    (KNIGHT, "tell me a short story\nabout a brave knight!!"),
    (KNIGHT, "tell me a short story about a brave kinght"),
    (KNIGHT, f"Please {KNIGHT}"),
    ("What is the capital of France?", "what's the capital of France"),
    ("Tell me a joke about cats", "Tell me a good joke about cats"),
    (REVENUE, f"No, {REVENUE}"),
    (REVENUE, "Show me the total revenue per region for the last quarter"),
    ("Wie wird das Wetter morgen in Berlin?", "Wie wird morgen das Wetter in Berlin?"),
    ("为什么天空是蓝色的？", "为什么天空是蓝色的呢？"),
    ("请告诉我法国的首都是哪里", "请告诉我，法国的首都在哪里？"),
    ("hello there, friend", "Hello there friend"),
]

FAR = [
    (KNIGHT, "What is the capital of France?"),
    (KNIGHT, "Tell me a joke about cats"),
    ("What is the capital of France?", "What is the population of Japan?"),
    (REVENUE, "Show me the number of new customers by month"),
    ("How do I sort a list by a key in Python?", "How do I read a CSV file in Python?"),
    ("Wie wird das Wetter morgen in Berlin?", "Wie komme ich morgen nach Hamburg?"),
    ("为什么天空是蓝色的？", "请告诉我法国的首都是哪里"),
    ("为什么天空是蓝色的？", "为什么海水是咸的？"),
    ("yes please do", "no thank you"),
]


def prints(pair: tuple[str, str]) -> tuple[int, int]:
    one, other = (fingerprint(text) for text in pair)
    assert one is not None
    assert other is not None
    return one, other


@pytest.mark.parametrize("pair", NEAR)
def test_the_same_in_other_words(pair: tuple[str, str]) -> None:
    assert nearly_same(*prints(pair))


@pytest.mark.parametrize("pair", FAR)
def test_other_questions(pair: tuple[str, str]) -> None:
    assert not nearly_same(*prints(pair))


@pytest.mark.parametrize("text", ["", " \n", "?!", "👩‍👩‍👧", "ok", "yes", "go on", "continue", "为什么"])
def test_of_too_little_text_nothing_is_said(text: str) -> None:
    assert fingerprint(text) is None


def test_it_has_64_bits_and_is_the_same_in_every_process() -> None:
    assert fingerprint(KNIGHT) == 0x6FBD7D8594925801
    assert all((fingerprint(text) or 0) < 2**64 for pair in FAR for text in pair)


def test_a_long_text_is_looked_at_in_its_beginning_its_middle_and_its_end() -> None:
    text = " ".join(f"word{number}" for number in range(2000))
    began_at = time.perf_counter()
    one = fingerprint(text)
    assert time.perf_counter() - began_at < 0.1  # it runs while a client waits
    for part in ("begin ", "end"):
        other = fingerprint(part + text if part == "begin " else text + part)
        assert one is not None
        assert other is not None
        assert nearly_same(one, other)


def test_half_a_character_breaks_nothing() -> None:
    assert fingerprint("\ud800 and more of it") is not None
