"""Two brokers, one contract: an embedded log on SQLite, and Kafka under Faust with its repairs.

This package does not know what a chat request is. It has two parts for each broker:

* a Faust *driver* (``embedded/driver.py``, ``kafka/driver.py``): the worker's consumer group, found by URL scheme;
* a *log client* (``embedded/client.py``, ``kafka/client.py``): append, read and tail partitions outside any group.

``weir.log.log`` holds the vocabulary that both log clients share.
"""
