from dataclasses import replace

from weir.chat.similarity import fingerprint
from weir.feedback import retries
from weir.feedback.retries import KEPT, Prompt, asked

WINDOW_S = 120.0
KNIGHT, CATS = "Tell me a short story about a brave knight.", "Tell me a joke about cats"


def prompt(uid: str, at: float, text: str = KNIGHT) -> Prompt:
    return Prompt(uid=uid, at=at, fingerprint=f"{fingerprint(text):016x}")


def test_a_user_that_asks_nearly_the_same_soon_was_not_content_with_the_first_answer() -> None:
    step = asked([prompt("a", 100)], prompt("b", 150, f"Please {KNIGHT}"), window_s=WINDOW_S)
    assert (step.retried, step.by) == ("a", "b")
    assert [one.uid for one in step.kept] == ["a", "b"]


def test_another_question_and_one_that_comes_later_are_no_retries() -> None:
    known = [prompt("a", 100)]
    assert asked(known, prompt("b", 150, CATS), window_s=WINDOW_S).retried is None
    late = asked(known, prompt("b", 221), window_s=WINDOW_S)
    assert late.retried is None
    assert [one.uid for one in late.kept] == ["b"]


def test_the_same_request_sent_again_is_no_retry_of_itself() -> None:
    known = [prompt("a", 100)]
    step = asked(known, prompt("a", 110), window_s=WINDOW_S)
    assert (step.retried, step.kept) == (None, known)


def test_of_a_row_of_retries_each_is_about_the_one_before() -> None:
    step = asked([prompt("a", 100), prompt("b", 130)], prompt("c", 160), window_s=WINDOW_S)
    assert step.retried == "b"


def test_records_may_come_in_another_order_than_they_were_accepted_in() -> None:
    step = asked([prompt("b", 150)], prompt("a", 100), window_s=WINDOW_S)
    assert (step.retried, step.by) == ("a", "b")
    assert [one.uid for one in step.kept] == ["a", "b"]


def test_a_user_has_so_many_prompts_and_no_more() -> None:
    known: list[Prompt] = []
    for number in range(KEPT + 4):
        known = asked(known, prompt(f"u{number}", number, f"{number} {CATS * (number % 3)} {KNIGHT}"), window_s=99).kept
    assert [one.uid for one in known] == [f"u{number}" for number in range(4, KEPT + 4)]
    row = retries.row_of(known)
    assert retries.prompts(row) == known
    assert retries.last_at(row) == KEPT + 3
    assert retries.prompts(None) == []
    assert retries.last_at(retries.row_of([])) == 0


def test_what_is_known_is_left_as_it_was() -> None:
    known = [prompt("a", 100)]
    before = [replace(one) for one in known]
    asked(known, prompt("b", 101), window_s=WINDOW_S)
    assert known == before
