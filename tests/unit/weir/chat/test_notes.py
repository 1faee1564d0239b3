import random
from typing import Any

import pytest

from weir.chat import notes
from weir.chat.notes import Notes, Part
from weir.envelope import Json


def chunk(delta: Json, index: int = 0, **more: Any) -> Json:
    return {"model": "m-1", "choices": [{"index": index, "delta": delta, **more}]}


def call(index: int, arguments: str = "", name: str | None = None) -> Json:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": index, "function": function}]}


def told(one: Notes) -> list[tuple[Part, str | None, str]]:
    return [(each.part, each.tool, each.text) for each in one.passages]


def test_thoughts_text_and_calls_are_kept_in_their_order() -> None:
    one = Notes(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "let me "}),
            chunk({"reasoning_content": "see"}),
            chunk({"content": "I ask."}),
            chunk(call(0, '{"sql": "SEL', "query")),
            chunk(call(1, "{}", "now")),
            chunk(call(0, 'ECT 1"}')),
            chunk({"reasoning": "hm"}),
            chunk({"content": "Done"}),
            chunk({"content": "."}),
        ]
    )
    assert told(one) == [
        (Part.THOUGHT, None, "let me see"),
        (Part.TEXT, None, "I ask."),
        (Part.TOOL, "query", '{"sql": "SELECT 1"}'),
        (Part.TOOL, "now", "{}"),
        (Part.THOUGHT, None, "hm"),
        (Part.TEXT, None, "Done."),
    ]
    assert (one.model, one.tools) == ("m-1", ["query", "now"])


def test_the_name_of_a_function_may_come_in_pieces_or_again() -> None:
    names = [
        chunk(call(0, "", "get_")),
        chunk(call(0, "", "weather")),
        chunk(call(1, "{", "now")),
        chunk(call(1, "}", "now")),
    ]
    assert Notes(names).tools == ["get_weather", "now"]


def test_a_function_call_is_a_call_as_well() -> None:
    one = Notes(
        [chunk({"function_call": {"name": "f", "arguments": "{"}}), chunk({"function_call": {"arguments": "}"}})]
    )
    assert told(one) == [(Part.TOOL, "f", "{}")]


def test_only_the_first_choice_is_noted() -> None:
    one = Notes([chunk({"content": "a"}), chunk({"content": "b"}, index=1)])
    assert told(one) == [(Part.TEXT, None, "a")]


def test_how_sure_the_model_was_is_the_mean_probability_of_its_tokens() -> None:
    one = Notes(
        [
            chunk({"content": "a"}, logprobs={"content": [{"logprob": 0.0}]}),
            chunk({"content": "b"}, logprobs={"content": [{"logprob": -0.6931471805599453}, {"logprob": None}]}),
            chunk({"content": "c"}),
        ]
    )
    assert one.passages[0].confidence == pytest.approx(0.75)
    assert Notes([chunk({"content": "a"})]).passages[0].confidence is None


def test_an_endless_answer_is_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "CHARS_MAX", 10)
    one = Notes([chunk({"content": "12345"}) for _ in range(100)])
    assert (one.passages[0].chars, one.passages[0].text) == (500, "1234512345")


def test_endless_calls_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "PASSAGES_MAX", 3)
    assert len(Notes([chunk(call(n, "{}", f"f{n}")) for n in range(50)]).passages) == 3


def test_an_llm_that_thinks_at_every_word_makes_no_endless_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "PASSAGES_MAX", 4)
    one = Notes([chunk({"reasoning": "t", "content": "w"}) for _ in range(50)])
    assert [(each.part, each.chars) for each in one.passages] == [
        (Part.THOUGHT, 1),
        (Part.TEXT, 1),
        (Part.THOUGHT, 49),
        (Part.TEXT, 49),
    ]


NONSENSE: tuple[Any, ...] = (None, 0, 1.5, "x", [], {}, [None], [{}], {"content": 7}, [{"index": "x", "function": {}}])


def test_nothing_that_an_llm_may_send_breaks_it() -> None:
    chance = random.Random(4)
    one = Notes()
    for _ in range(2000):
        delta = {
            name: chance.choice(NONSENSE)
            for name in ("content", "reasoning", "reasoning_content", "tool_calls")
            if chance.random() < 0.6
        }
        choice = {"index": chance.choice([0, 0, None]), "delta": chance.choice([delta, delta, None, "x"])}
        choice["logprobs"] = chance.choice(NONSENSE)
        one.add({"model": chance.choice(NONSENSE), "choices": chance.choice([[choice], [choice], None, [None], ["x"]])})
    assert one.passages
