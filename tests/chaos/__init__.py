"""The fault bench: streams of 5 to 20 s on three workers that are killed, stopped and paused, on brokers that restart.

    make chaos                                            some minutes
    make chaos ARGS='--minutes 60 --seed 7'               for an hour
    make chaos ARGS='--kill-every 0 --kafka-every 0'      without some faults

One Kafka, one RabbitMQ, one to three workers. Clients ask through every door and do what clients do: they lose their
connection and resume with another worker, hang up on purpose and come back, read one stream together, cancel, set
deadlines, send the same uid twice. Meanwhile faults come by a schedule that follows from the seed, like all of the
load. Then everything is compared: each client's answer, the log, the workers' views, and how often the LLM was called
for each prompt, worker by worker.

* ``plan.py``: the requests, with their times, doors and manners.
* ``schedule.py``: the faults, with their times.
* ``seen.py``: what a client did and saw; ``clients.py``, ``http.py``, ``mailboxes.py``: the clients.
* ``scenario.py``: the run.
* ``checks.py``: the checks afterwards.

It differs from the kill cycle (``tests.cycle``), whose few faults come in a set order under a denser load.
"""
