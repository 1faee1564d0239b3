"""The fault bench: streams of 5 to 20 s on three workers that are killed, stopped and paused, on brokers that restart.

    make chaos                                            some minutes
    make chaos ARGS='--minutes 60 --seed 7'               for as long as told
    make chaos ARGS='--kill-every 0 --kafka-every 0'      without some of it

One Kafka, one RabbitMQ, one to three workers. Clients ask through every door and do what clients do: they lose their
connection and resume with another worker, hang up on purpose and come back, read one stream together, cancel, set
deadlines, send the same uid twice. Meanwhile faults come by a schedule that follows from the seed, as all of the load
does. Then everything is compared: what each client got, what stands in the log, what the workers say of it, and how
often the LLM was called for what, worker by worker.

* ``plan.py``: who asks what, when, through which door, and in which manner.
* ``schedule.py``: which fault comes when.
* ``seen.py``: what a client did and saw; ``clients.py``, ``http.py``, ``mailboxes.py``: how it does that.
* ``scenario.py``: the run.
* ``checks.py``: what must be true afterwards.

It differs from the kill cycle (``tests.cycle``), whose few faults come in a set order under a denser load.
"""
