"""The kill cycle: workers join, die, stop, and Kafka itself restarts, while 1,500 requests come in. None is lost.

    make cycle                                  once
    make cycle ARGS='--repeat 3 --seed 7'       three times in a row

One Kafka, one worker. Under a steady load through every door a second and a third worker join; one is killed (kill -9)
and replaced; Kafka restarts; one is stopped (SIGTERM). A client whose worker dies or answers 503 asks another one
again, with the same uid. Then everything is compared: the clients' answers, the views, the log, and how often the LLM
was called for each prompt, worker by worker.

* ``plan.py``: the requests, with their times and doors; all of it from one seed.
* ``clients.py``: the clients, and what they see.
* ``scenario.py``: the events, from top to bottom.
* ``checks.py``: the checks afterwards, as one table.

The parts that the fault bench uses as well are in ``tests/fleet``.
"""
