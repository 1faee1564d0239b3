"""query-lineage-events: where the SQL in an answer takes its data from. Keyed by the request's uid."""

from typing import ClassVar

from pydantic import Field

from weir.events.base import AboutRequest
from weir.lineage.model import ColumnLineage, QueryText, Source, StatementKind, Transformation


class QueryLineage(AboutRequest):
    """One query in an answer."""

    EVENT_TYPE: ClassVar[str] = "query.lineage"
    TOPIC: ClassVar[str] = "query-lineage-events"

    session_id: str | None = Field(None, description="The client's session.")
    user_question: str | None = Field(None, description="The last message of the user, cut and redacted.")
    agent_pipeline: list[str] = Field(description="Who worked on it, in order.")
    query: QueryText
    statement: StatementKind
    target: str | None = Field(None, description="The table that it writes; null for a SELECT.")
    sources: tuple[Source, ...]
    transformations: tuple[Transformation, ...]
    column_lineage: tuple[ColumnLineage, ...]
