"""query-lineage-events: the tables and columns that SQL in an answer reads. Keyed by the request's uid."""

from typing import ClassVar

from pydantic import Field

from weir.events.base import AboutRequest
from weir.lineage.model import ColumnLineage, QueryText, SourceTable, StatementKind, Transformation


class QueryLineage(AboutRequest):
    """The lineage of one query in an answer."""

    EVENT_TYPE: ClassVar[str] = "query.lineage"
    TOPIC: ClassVar[str] = "query-lineage-events"

    session_id: str | None = Field(None, description="The client's session.")
    user_question: str | None = Field(None, description="The last message of the user, cut and redacted.")
    agent_pipeline: list[str] = Field(description="The agents that worked on the answer, in order.")
    query: QueryText
    statement: StatementKind
    target: str | None = Field(None, description="The table that the query writes; null for a SELECT.")
    sources: tuple[SourceTable, ...]
    transformations: tuple[Transformation, ...]
    column_lineage: tuple[ColumnLineage, ...]
