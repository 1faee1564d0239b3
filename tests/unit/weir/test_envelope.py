"""The envelope of every event."""

from weir.envelope import new_id


def test_new_ids_are_new() -> None:
    assert len({new_id("evt") for _ in range(100)}) == 100
    assert new_id("evt").startswith("evt-")
