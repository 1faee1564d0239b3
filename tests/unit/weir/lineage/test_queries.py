"""The lineage of queries, whole and exact."""

import pytest

from tests.unit.weir.lineage import change_cases, dialect_cases, trino_cases
from tests.unit.weir.lineage.cases import Case, found
from weir.lineage import queries

CASES = [*trino_cases.CASES, *dialect_cases.CASES, *change_cases.CASES]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.dialect}: {case.name}" for case in CASES])
def test_all_that_is_known_of_a_query(case: Case) -> None:
    (query,) = queries(f"```sql\n{case.sql}\n```", dialect=case.dialect).queries
    assert found(query) == case.expected()


def test_the_names_of_the_cases_are_their_own() -> None:
    assert len({(case.dialect, case.name) for case in CASES}) == len(CASES)
