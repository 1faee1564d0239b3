"""Real brokers for tests: `python -m tests.services -- COMMAND` provides them, `fixtures.py` hands them to tests."""

# The two names on which the provider and the fixtures agree.
KAFKA_VARIABLE = "WEIR_TEST_KAFKA"
RABBITMQ_VARIABLE = "WEIR_TEST_RABBITMQ"
