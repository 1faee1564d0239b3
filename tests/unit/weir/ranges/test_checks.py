"""Conditions as people write them, the same for each command."""

import pytest

from weir.ranges.checks import conditions
from weir.ranges.errors import UsageError


def test_each_field_has_its_value() -> None:
    assert conditions(["uid=a=b", " tenant=", "model= m "]) == {"uid": "a=b", "tenant": "", "model": " m "}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tenant"], "--where: 'tenant' is not a condition: write it as field=value"),
        (["uid=a", "uid =b"], "--where: 'uid' is named twice, and all conditions must hold"),
        (["uid=\udcff"], r"--where: 'uid=\\udcff' is not text"),
        (["\udcff=x"], r"--where: '\\udcff=x' is not text"),
    ],
)
def test_what_is_no_condition_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        conditions(given)
