import pytest

from demo.modes import MODES, BadOptionError, mode_of
from demo.text import LABEL, expected_answer, expected_content, expected_thinking, script
from tests.unit.demo.helpers import PROMPT, TOOLS, body_of


def test_the_answer_says_first_that_it_is_a_demo_and_repeats_the_prompt() -> None:
    text = expected_content(body_of("demo"))
    assert text.startswith(LABEL)
    assert PROMPT in text
    assert text.endswith(".")


def test_the_same_request_gets_the_same_answer_and_any_change_another() -> None:
    texts = {
        expected_content(body_of("demo", prompt), index)
        for prompt in ("a", "b", None, "a" * 300, "a" * 301)
        for index in range(3)
    }
    assert len(texts) == 15
    assert expected_content(body_of("demo", "a"), 2) in texts
    assert expected_content(body_of("gpt", "a")) not in texts


def test_the_order_of_keys_and_null_members_change_nothing() -> None:
    one = {"model": "demo", "messages": [{"role": "user", "content": "x", "name": None}]}
    other = {"messages": [{"content": "x", "role": "user"}], "model": "demo"}
    assert script(one) == script(other)


@pytest.mark.parametrize("tokens", [0, 1, 2, 5, 60, 1000])
def test_the_length_option_counts_tokens(tokens: int) -> None:
    assert len(script(body_of(f"demo:tokens={tokens}")).content) == tokens


def test_even_an_answer_of_one_token_says_that_it_is_a_demo() -> None:
    assert expected_content(body_of("demo:tokens=1")) == LABEL


def test_think_tags_are_cut_at_places_that_vary_with_the_prompt() -> None:
    cuts = set()
    for number in range(30):
        said = script(body_of("demo-think-tags", f"prompt {number}"))
        text = "".join(said.content)
        assert text == f"<think>{''.join(said.thinking)}</think>\n\n{''.join(said.answer)}"
        tokens = said.content[: -len(said.answer)]
        assert not any("<think>" in token or "</think>" in token for token in tokens)
        cuts.add(len(tokens[0]))
    assert cuts == {1, 2, 3, 4, 5}


def test_thoughts_are_apart_from_the_answer() -> None:
    body = body_of("demo-thinking:thinking_tokens=7")
    assert len(script(body).thinking) == 7
    assert expected_thinking(body)
    assert expected_thinking(body) not in expected_content(body)
    assert expected_content(body) == expected_answer(body)


@pytest.mark.parametrize("model", ["demo", "demo-thinking", "demo-think-tags"])
def test_a_limit_cuts_the_answer_and_says_length(model: str) -> None:
    whole = script(body_of(model))
    for limit in range(1, whole.completion_tokens + 5):
        said = script(body_of(model, max_completion_tokens=limit))
        assert said.completion_tokens == min(limit, whole.completion_tokens)
        assert said.finish_reason == ("length" if limit < whole.completion_tokens else "stop")
        assert "".join(whole.content).startswith("".join(said.content))
        assert "".join(whole.answer).startswith("".join(said.answer))
        assert "".join(said.thinking) in "".join(whole.content + whole.thinking)


@pytest.mark.parametrize("model", ["demo", "demo-thinking", "demo-think-tags"])
def test_a_begun_answer_is_continued_from_any_character(model: str) -> None:
    body = body_of(model, tools=TOOLS)
    whole = expected_content(body)
    for length in range(1, len(whole) + 1):
        begun = {"role": "assistant", "content": whole[:length]}
        messages = [{"role": "user", "content": PROMPT}, begun]
        rest = script({**body, "messages": messages})
        assert "".join(rest.content) == whole[length:]
        assert whole.endswith("".join(rest.answer))
        assert rest.finish_reason == "stop"


def test_an_assistant_message_that_the_demo_did_not_say_is_a_prompt_like_others() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "something else"}]
    assert expected_content({"model": "demo", "messages": messages}).startswith(LABEL)


def _deep(levels: int) -> object:
    value: object = "end"
    for _ in range(levels):
        value = {"text": [value]}
    return value


@pytest.mark.parametrize("model", list(MODES))
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None, "tools": 3, "n": "x"},
        {"messages": []},
        {"messages": ["text", 3, None, [], {}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": ["user"], "content": {"text": "x"}}], "max_tokens": "many"},
        {"messages": [{"role": "user", "content": "half an emoji \ud83d"}], "tools": TOOLS},
        {"messages": [{"role": "user", "content": "\u0000\u2028\r\n\ufeff"}], "max_tokens": -1},
        {"messages": [{"role": "user", "content": [_deep(5000), {"type": 7}, "part", None]}]},
        {"messages": [{"role": "developer", "content": "d"}, {"role": "tool", "content": [], "tool_call_id": 1}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": None}]}]},
        {"messages": [{"role": "user", "content": 2**70}], "tools": [None, {"function": {"name": 3}}]},
        {"messages": [{"role": "user", "content": "x"}], "tool_choice": {"function": {"name": "second"}}},
    ],
)
def test_no_request_is_too_odd(model: str, body: dict[str, object]) -> None:
    said = script({"model": model, **body}, 1)
    assert said == script({"model": model, **body}, 1)
    "".join(said.content).encode()


def test_parts_without_text_are_named() -> None:
    parts = [
        {"type": "text", "text": "see "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ]
    assert "“see [image_url][input_audio][file]”" in expected_content(body_of("demo", parts))


def test_a_megabyte_of_prompt_is_echoed_in_its_beginning_only() -> None:
    text = expected_content(body_of("demo:tokens=300", "水" * 350_000))
    assert text.count("水") == 200


@pytest.mark.parametrize("name", ["gpt-4o", "deepseek-r1:8b", "", "demo2:tokens=x"])
def test_an_unknown_model_answers_at_a_human_pace(name: str) -> None:
    assert (mode_of(name).delay_ms, mode_of(name).tokens) == (30, 60)


@pytest.mark.parametrize("options", ["token=3", "tokens", "tokens=-1", "delay_ms=nan", "status=200", "tokens=1.5"])
def test_a_wrong_option_is_an_error(options: str) -> None:
    with pytest.raises(BadOptionError):
        mode_of(f"demo:{options}")
