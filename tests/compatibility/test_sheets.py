"""The sheets hold the promises of docs/compatibility.md."""

from collections import Counter
from pathlib import Path

import pytest

from tests.compatibility.cases import all_sheets

SHEETS = all_sheets()


def test_no_two_cases_have_the_same_id() -> None:
    ids = Counter(case.id for sheet in SHEETS.values() for case in sheet.cases)
    assert [each for each, count in ids.items() if count > 1] == []


@pytest.mark.parametrize("name", SHEETS)
def test_every_sheet_is_run_by_a_test(name: str) -> None:
    tests = Path(__file__).parents[1].rglob("test_*.py")
    assert any(f"compatibility.{name} import" in test.read_text() for test in tests)
