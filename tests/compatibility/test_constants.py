"""Every path joins text fields, and gives other fields once."""

from typing import Any

from tests.compatibility.constants import SHEET, ConstantsCase
from tests.compatibility.paths import Heard, Lab
from tests.compatibility.steps import bare
from weir.envelope import Json


@SHEET.parametrize()
async def test_text_is_joined_and_the_rest_is_said_once(lab: Lab, case: ConstantsCase) -> None:
    lab.upstream.play(case.id, case.script)
    more: Json = {"n": 1 + len(case.others)} if case.others else {}
    for path, heard in (await lab.ask_everywhere(case.id, **more)).items():
        assert heard.error is None, path
        assert heard.text == case.text, path
        assert heard.finish_reason == "stop", path
        if path.startswith("rabbitmq"):
            assert heard.message.get("refusal") == case.message.get("refusal"), path
            continue
        assert heard.message["role"] in {"assistant", None}, path  # in a stream only where the server sends it
        for name, value in case.message.items():
            assert shown(heard.message[name]) == shown(value), (path, name)
        if heard.body:
            check_whole(heard, case, path)


def shown(value: Any) -> Any:
    """Return a field of a message, without indexes, and without the nulls of the openai client's types."""
    match value:
        case list():
            return bare([shown(item) for item in value])
        case dict():
            return {k: shown(v) for k, v in value.items() if v is not None}
    return value


def check_whole(heard: Heard, case: ConstantsCase, path: str) -> None:
    """Check the fields beside the message, in one object."""
    choices = heard.body["choices"]
    assert heard.body["object"] == "chat.completion", path
    assert {name: heard.body.get(name) for name in case.top} == case.top, path
    assert {name: choices[0].get(name) for name in case.choice} == case.choice, path
    assert [choice["message"]["content"] for choice in choices[1:]] == list(case.others), path
    for annotation in choices[0]["message"].get("annotations") or ():
        assert "index" not in annotation, path
