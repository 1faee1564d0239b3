"""Kafka: the Faust driver with its repairs, and the log client."""
