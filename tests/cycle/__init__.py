"""The kill cycle: workers join, die, stop, and Kafka itself restarts, while 1,500 requests come in. Nothing is lost.

    make cycle                                  once
    make cycle ARGS='--repeat 3 --seed 7'       three times in a row

One Kafka, one worker. Under a steady load through every door a second and a third worker join; one is killed (kill -9)
and replaced; Kafka restarts; one is stopped (SIGTERM). A client whose worker dies or says 503 asks another one again,
with the same uid. Then everything is compared: what the clients got, what the views say, what stands in the log, and
how often the LLM was called for what, worker by worker.

* ``plan.py``: who asks what, when, through which door; all of it from one seed.
* ``clients.py``: what clients do and what they see.
* ``scenario.py``: what happens, from top to bottom.
* ``checks.py``: what must be true afterwards, as one table.

What is needed for that, and by the fault bench as well, is in ``tests/fleet``.
"""
