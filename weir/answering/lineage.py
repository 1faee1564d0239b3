"""query-lineage-events: the tables and columns that the SQL in an answer reads, one event for each query."""

import logging
import re
from typing import Final

from pydantic import ValidationError

from weir.chat.account import Account
from weir.chat.notes import Part
from weir.chat.thinking import last_user_text
from weir.events.lineage import QueryLineage
from weir.events.publishing import Events
from weir.events.redaction import Redactor
from weir.lineage.process import NotParsedError, SqlProcess

logger = logging.getLogger(__name__)

# Text that can hold a query at all; most answers have none, and are not sent to the parser.
_SQL: Final = re.compile(r"\b(?:select|insert|update|delete|merge|create|from)\b", re.IGNORECASE)
_FENCES: Final = ("```", "~~~")


class LineageEvents:
    """Publishes the lineage of the SQL in answers, for one worker."""

    def __init__(self, events: Events, parser: SqlProcess, *, redactor: Redactor) -> None:
        self._events = events
        self._parser = parser
        self._redactor = redactor
        self.skipped = 0  # answers that could not be parsed

    async def tell(self, account: Account) -> None:
        """Emit the lineage of the queries in an answer. Never raises; takes as long as the parser does."""
        passages = account.notes.passages
        text = "\n".join(passage.text for passage in passages if passage.part is Part.TEXT)
        calls = [passage.text for passage in passages if passage.part is Part.TOOL]
        calls = [call for call in calls if _SQL.search(call)]
        if not any(fence in text for fence in _FENCES) or not _SQL.search(text):
            text = ""
        if not text and not calls:
            return
        try:
            found = await self._parser.queries(text, calls)
            events = [self._event(account, query) for query in found]
        except (NotParsedError, ValidationError) as error:
            self.skipped += 1
            logger.warning("request %s: its SQL was not parsed: %s", account.request.uid, str(error).partition("\n")[0])
            return
        for place, event in enumerate(events):
            self._events.emit(
                event,
                account.request.tenant,
                event_id=account.event_id(event.EVENT_TYPE, place),
                traceparent=account.request.traceparent,
            )

    def _event(self, account: Account, query: dict[str, object]) -> QueryLineage:
        event = QueryLineage.model_validate(
            {
                **query,
                "uid": account.request.uid,
                "session_id": account.request.session_id,
                "user_question": self._redactor(last_user_text(account.request.body)) or None,
                "agent_pipeline": ["chat"],
            }
        )
        sql = self._redactor(event.query.sql)
        cut = event.query.truncated or len(event.query.sql) > self._redactor.limit
        return event.model_copy(update={"query": event.query.model_copy(update={"sql": sql, "truncated": cut})})
