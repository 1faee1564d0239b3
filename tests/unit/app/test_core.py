"""What Faust's side of the log finds on the application, by name."""

from app import app, parts
from weir.topics import CHAT_REQUESTS


def test_tables_are_read_back_through_the_log_client_and_by_the_names_that_it_knows() -> None:
    """Without them the recovery reads record by record, and waits for ever for a marker at the end of a changelog."""
    assert app.log_client is parts.worker.log
    assert app.own_name(app.settings.topic_prefix + CHAT_REQUESTS.name) == CHAT_REQUESTS.name
