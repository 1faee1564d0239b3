"""Thinking in tags, cut at every character."""

import copy
from collections.abc import Iterable

import pytest

from weir.envelope import Json
from weir.llm.thinking import TagSplitter, ThinkingSplitter

# What the model said -> (thinking, answer)
SAID: dict[str, tuple[str, str, str]] = {
    "a tag at the start": ("<think>I think.</think>Yes.", "I think.", "Yes."),
    "white space after the tag belongs to neither": ("<think>I think.</think>\n\n Yes.\n", "I think.", "Yes.\n"),
    "white space before the tag belongs to neither": ("\n  <think>\nI think.\n</think>Yes.", "\nI think.\n", "Yes."),
    "no tag": ("Yes, of course.", "", "Yes, of course."),
    "no tag and white space before": ("\n  Yes.", "", "\n  Yes."),
    "white space only": (" \n ", "", " \n "),
    "an unfinished tag": ("<think>I think", "I think", ""),
    "nothing but the tag": ("<think>", "", ""),
    "empty thoughts": ("<think></think>Yes.", "", "Yes."),
    "empty thoughts on lines of their own": ("<think>\n\n</think>\n\nYes.", "\n\n", "Yes."),
    "thoughts and no answer": ("<think>I think.</think>\n", "I think.", ""),
    "what only begins like a tag": ("<thin", "", "<thin"),
    "what only begins like a tag, and goes on": ("<thinking>no</thinking>", "", "<thinking>no</thinking>"),
    "another tag": ("<b>Yes</b>", "", "<b>Yes</b>"),
    "white space and what only begins like a tag": ("  <thi", "", "  <thi"),
    "a close tag that is cut off": ("<think>I think.</thi", "I think.</thi", ""),
    "what only begins like a close tag": ("<think>a </b> </thin </think>Yes.", "a </b> </thin ", "Yes."),
    "a close tag that begins twice": ("<think>a<</</think>Yes.", "a<</", "Yes."),
    "a tag later in the answer": ("Say <think>x</think>!", "", "Say <think>x</think>!"),
    "a second tag after the answer has begun": ("<think>a</think>Yes <think>b</think>", "a", "Yes <think>b</think>"),
    "a second tag right after the first": ("<think>a</think><think>b</think>", "a", "<think>b</think>"),
    "a tag within the thoughts": ("<think>a<think>b</think>Yes.", "a<think>b", "Yes."),
    "a close tag and no open one": ("a</think>b", "", "a</think>b"),
    "letters of other scripts": ("<think>水👩‍👩‍👧</think>Grüße\u2028!", "水👩‍👩‍👧", "Grüße\u2028!"),
    "white space of other scripts": ("\u2003<think>a</think>\u00a0b", "a", "b"),
}


def split(pieces: Iterable[str]) -> tuple[str, str]:
    tags, thinking, answer = TagSplitter(), "", ""
    for piece in pieces:
        more_thinking, more_answer = tags.feed(piece)
        thinking, answer = thinking + more_thinking, answer + more_answer
    more_thinking, more_answer = tags.close()
    return thinking + more_thinking, answer + more_answer


@pytest.mark.parametrize("name", SAID)
def test_text_that_is_cut_anywhere_is_split_the_same_way(name: str) -> None:
    text, *expected = SAID[name]
    for cut in range(len(text) + 1):
        for again in range(cut, len(text) + 1):
            assert split([text[:cut], text[cut:again], text[again:]]) == tuple(expected), (cut, again)


@pytest.mark.parametrize("name", SAID)
def test_text_that_comes_letter_by_letter_is_split_the_same_way(name: str) -> None:
    text, *expected = SAID[name]
    assert split(text) == tuple(expected)


def test_text_is_held_back_only_while_it_may_be_a_tag() -> None:
    """A reader must not wait for the next token without need."""
    tags = TagSplitter()
    assert tags.feed(" <thin") == ("", "")
    assert tags.feed("k>a") == ("a", "")
    assert tags.feed("b <") == ("b ", "")
    assert tags.feed("b></") == ("<b>", "")
    assert tags.feed("think> ") == ("</think> ", "") or tags.feed("x") == ("", "x")
    plain = TagSplitter()
    assert plain.feed("N") == ("", "N")
    assert plain.feed("<think>") == ("", "<think>")


def content(text: str | None, index: int = 0, finish_reason: str | None = None) -> Json:
    return {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}


def told(*chunks: Json) -> dict[int, tuple[str, str]]:
    """Return (thinking, answer) by choice, of chunks that go through one splitter until the stream stops."""
    splitter = ThinkingSplitter()
    found: dict[int, tuple[str, str]] = {}
    said = [*(choice for chunk in chunks for choice in splitter.split(chunk).get("choices") or ()), *splitter.close()]
    for choice in said:
        thinking, answer = found.get(choice["index"], ("", ""))
        delta = choice["delta"] or {}
        found[choice["index"]] = (
            thinking + (delta.get("reasoning_content") or ""),
            answer + (delta.get("content") or ""),
        )
    return found


def test_choices_are_split_apart() -> None:
    said = {0: "<think>zero</think>Null", 1: "No thoughts <think>", 2: "<think>two", 3: "<thi"}
    chunks: list[Json] = [
        {"choices": [content(text[at], index)]}
        for at in range(max(map(len, said.values())))
        for index, text in said.items()
        if at < len(text)
    ]
    ends: list[Json] = [{"choices": [content(None, index, "stop")]} for index in said]
    expected = {0: ("zero", "Null"), 1: ("", "No thoughts <think>"), 2: ("two", ""), 3: ("", "<thi")}
    assert told(*copy.deepcopy(chunks), *ends) == expected
    assert told(*chunks) == expected, "a stream that breaks off loses nothing either"


@pytest.mark.parametrize(
    "end",
    [
        {"index": 0, "delta": {}, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": None}, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"},
        {"index": 0, "delta": None, "finish_reason": "stop"},
        {"index": 0, "finish_reason": "stop"},
    ],
)
@pytest.mark.parametrize(("text", "expected"), [("<think", ("", "<think")), ("<think>a</", ("a</", ""))])
def test_what_was_held_back_leaves_with_the_finish_reason(end: Json, text: str, expected: tuple[str, str]) -> None:
    splitter = ThinkingSplitter()
    first = splitter.split({"choices": [content(text)]})["choices"][0]["delta"]
    last = splitter.split({"choices": [copy.deepcopy(end)]})["choices"][0]["delta"]
    assert (first.get("reasoning_content") or "") + (last.get("reasoning_content") or "") == expected[0]
    assert (first.get("content") or "") + (last.get("content") or "") == expected[1]
    assert splitter.close() == []


def test_a_last_chunk_with_text_and_a_finish_reason_is_split_too() -> None:
    assert told({"choices": [content("<think>a</think>b", 0, "stop")]}) == {0: ("a", "b")}
    assert told({"choices": [content("<think>a</", 0, "length")]}) == {0: ("a</", "")}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_that_is_told_apart_already_stays_where_it_is(name: str) -> None:
    chunks: list[Json] = [
        {"choices": [{"index": 0, "delta": {name: "<think>a", "content": None}}]},
        {"choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]},
    ]
    before = copy.deepcopy(chunks)
    assert [ThinkingSplitter().split(chunk) for chunk in chunks] == before
    assert before[0]["choices"][0]["delta"][name] == "<think>a"


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": []},
        {"choices": None, "usage": {}},
        {"choices": [{"index": 0, "delta": {}}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}]},
        {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": [{"index": 0}]}}]},
        {"choices": [{"index": 0, "delta": {"content": [{"type": "text"}]}}]},
        {"choices": [{"index": 0, "delta": {"content": "a", "x": 1}, "x": {"y": 2}, "finish_reason": None}], "z": 3},
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
    ],
)
def test_chunks_without_tags_are_left_as_they_are(chunk: Json) -> None:
    before = copy.deepcopy(chunk)
    assert ThinkingSplitter().split(chunk) == before
