"""The chunks that an attempt has received."""

from tests.unit.weir.chat.helpers import chunk
from weir.answering.heard import Heard
from weir.chat.fold import Answer
from weir.chat.frames import Status
from weir.chat.notes import Notes
from weir.llm.choices import WEIR_FINISH


def test_a_terminal_has_the_last_usage_and_how_choice_0_ended() -> None:
    heard = Heard(Answer(rid="r"), Notes())
    for one in ({**chunk("x"), "usage": {"total_tokens": 1}}, chunk("y"), chunk(None, "stop")):
        heard.chunk(one)
    end = heard.terminal()
    assert (heard.began, Heard(Answer(rid="r"), Notes()).began) == (True, False)
    assert (end.status, end.finish_reason, end.weir_finish, end.usage, end.error) == (
        Status.COMPLETED,
        "stop",
        None,
        {"total_tokens": 1},
        None,
    )
    assert 0 <= end.timings["first_chunk_ms"] <= end.timings["total_ms"]


def test_what_was_said_before_the_attempt_counts_on() -> None:
    before = Answer(rid="r", finish_reasons={0: "length"}, weir_finish="ANSWER_MAX_S", usage={"total_tokens": 9})
    end = Heard(before, Notes()).terminal()
    assert (end.finish_reason, end.weir_finish, end.usage) == ("length", "ANSWER_MAX_S", {"total_tokens": 9})
    assert end.timings["first_chunk_ms"] is None


def test_a_failed_answer_has_no_finish_reason() -> None:
    heard = Heard(Answer(rid="r"), Notes())
    last = chunk(None, "stop")
    last["choices"][0][WEIR_FINISH] = "inferred"
    heard.chunk(last)
    assert heard.terminal().weir_finish == "inferred"
    end = heard.terminal({"message": "away"})
    assert (end.status, end.finish_reason, end.weir_finish, end.error) == (
        Status.FAILED,
        None,
        None,
        {"message": "away"},
    )
