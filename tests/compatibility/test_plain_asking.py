"""A server that refuses an option that Weir adds to a request is asked without it."""

from tests.compatibility.paths import Lab
from tests.compatibility.plain_asking import SHEET, PlainCase
from tests.compatibility.upstream import whole


@SHEET.parametrize()
async def test_a_server_that_refuses_is_asked_for_less(lab: Lab, case: PlainCase) -> None:
    refusal = (whole({"error": {"message": case.refusal}}, case.status),)
    found, calls = await lab.ask_apart(case.id, refusal, case.then, stream_options=None)
    for path, heard in found.items():
        if path in {"json", "rabbitmq-whole"} or case.streamed:
            assert (heard.error, heard.text) == (None, "It is 2."), path
        else:
            assert heard.error is not None, path
            assert case.refusal in heard.error["message"], path
    assert calls == {"json": 2, "rabbitmq-whole": 2, "stream": 1 + case.streamed, "rabbitmq": 1 + case.streamed}
    last = lab.upstream.calls(f"{case.id}-json")[-1].body
    assert {name: last[name] for name in ("stream", "stream_options") if name in last} == case.asked


@SHEET.parametrize()
async def test_a_refusal_is_remembered(lab: Lab, case: PlainCase) -> None:
    model = f"{case.id}-again"
    lab.upstream.play(model, (whole({"error": {"message": case.refusal}}, case.status),), case.then)
    for _ in range(2):
        found = await lab.ask_everywhere(model, only=("json",))
        assert found["json"].text == "It is 2."
    assert len(lab.upstream.calls(model)) == 3
