"""Chunk objects."""

from weir.llm.chunks import finish_reasons


def test_finish_reasons_take_chunks_without_choices_as_they_are() -> None:
    assert finish_reasons([{}, {"choices": []}, {"choices": None}, {"choices": [{"finish_reason": "stop"}]}]) == {
        0: "stop"
    }
