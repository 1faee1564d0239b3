"""The values of metrics' labels."""

import pytest

from weir.telemetry.labels import LABEL_MAX, OTHER, AtMost, TopicLabels, error_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("chat-chunks", "chat-chunks"),
        ("team-a.chat-chunks", "chat-chunks"),
        ("team-a.weir-requests-changelog", "weir-requests-changelog"),
        ("weir-requests-changelog", "weir-requests-changelog"),
        ("team-a.weir-reply", OTHER),
        ("team-b.chat-chunks", OTHER),
        ("their-changelog", OTHER),
    ],
)
def test_the_label_of_a_topic_is_its_name_without_the_prefix_and_only_if_it_is_weirs(name: str, label: str) -> None:
    labels = TopicLabels(["chat-chunks"], changelogs="weir-", prefix="team-a.")
    assert [labels.of(name), labels.of(name)] == [label, label]


def test_so_many_values_have_a_label_of_their_own() -> None:
    labels = AtMost(2, ["known"])
    assert labels.label("new", admit=False) == OTHER
    assert labels.label("new", admit=True) == "new"
    assert [labels.label(value, admit=True) for value in ("late", "known", "new", None, "")] == [
        OTHER,
        "known",
        "new",
        OTHER,
        OTHER,
    ]


def test_a_label_that_a_client_chose_is_short() -> None:
    assert AtMost(1).label("x" * 5000, admit=True) == "x" * LABEL_MAX


def test_error_codes_that_an_llm_made_up_are_other() -> None:
    assert [error_label(code) for code in ("upstream_timeout", "made-up", None)] == ["upstream_timeout", OTHER, OTHER]
