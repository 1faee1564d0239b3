from pathlib import Path

import pytest

from tests.side_by_side import LONGEST, part_of, rank_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("test", "part"),
    [
        ("tests/e2e/test_rows.py::test_a", "e2e/test_rows.py"),
        ("tests/e2e/test_rows.py::test_a[kafka]", "e2e/test_rows.py"),
        ("tests/e2e/test_rows.py::test_a[embedded]", "e2e/test_rows.py@embedded"),
        ("tests/e2e/test_rows.py::test_a[embedded-completed]", "e2e/test_rows.py@embedded"),
        ("tests/e2e/test_rows.py::test_a[completed-embedded]", "e2e/test_rows.py@embedded"),
        (
            "tests/unit/weir/log/test_embedded_file.py::test_a[is-not-embedded-yet::x]",
            "unit/weir/log/test_embedded_file.py@embedded",
        ),
        ("tests/unit/weir/log/test_embedded_file.py::test_a", "unit/weir/log/test_embedded_file.py"),
    ],
)
def test_a_part_is_a_file_or_what_it_tests_on_the_embedded_log(test: str, part: str) -> None:
    assert part_of(test) == part


def test_long_parts_begin_first_and_unit_tests_last() -> None:
    parts = ["unit/web/test_sse.py", "contracts/test_log.py", LONGEST[1], "e2e/test_rows.py", LONGEST[0]]
    assert sorted(parts, key=rank_of) == [*LONGEST[:2], "e2e/test_rows.py", "contracts/test_log.py", parts[0]]


def test_every_long_part_is_there() -> None:
    assert [part for part in LONGEST if not (TESTS / part.removesuffix("@embedded")).is_file()] == []
