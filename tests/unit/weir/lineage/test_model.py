"""The published shapes."""

import pytest
from pydantic import TypeAdapter, ValidationError

from weir.lineage import queries
from weir.lineage.model import Lineage, Query, Transformation

SQL = "SELECT a, SUM(b) OVER (ORDER BY c) AS s, COUNT(*) AS n FROM t JOIN u USING (id) GROUP BY 1"


def test_what_is_found_survives_json() -> None:
    found = queries(f"```sql\n{SQL}\n```")
    assert Lineage.model_validate_json(found.model_dump_json()) == found


def test_every_field_is_described_in_the_schema() -> None:
    schema = Query.model_json_schema(mode="serialization")
    shapes = [schema, *schema["$defs"].values()]
    assert len(shapes) == 12
    for shape in shapes:
        assert shape["additionalProperties"] is False
        assert set(shape["required"]) == set(shape["properties"])
        for name, field in shape["properties"].items():
            assert name == "type" or field["description"]


def test_a_transformation_is_known_by_its_type() -> None:
    read = TypeAdapter[Transformation](Transformation).validate_python
    assert type(read({"type": "group_by", "columns": ["a"]})).__name__ == "GroupBy"
    with pytest.raises(ValidationError):
        read({"type": "magic", "columns": ["a"]})


def test_what_is_found_cannot_be_changed() -> None:
    (query,) = queries(f"```sql\n{SQL}\n```").queries
    with pytest.raises(ValidationError, match="frozen"):
        query.target = "x"  # type: ignore[misc]
