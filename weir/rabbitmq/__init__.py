"""The RabbitMQ door: requests from a queue into the log, answers from the log into queues."""
