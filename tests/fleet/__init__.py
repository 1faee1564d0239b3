"""A fleet of workers under load, and the checks afterwards: the parts that kill cycle and fault bench share.

* ``asks.py``: the requests of clients; ``seen.py``: what a client saw; ``stream.py``: how it reads a stream.
* ``fleet.py``: the workers, each with an LLM of its own, so that its calls are known for sure.
* ``happenings.py``: the faults.
* ``told.py``: the content of the log; ``views.py``: the workers' views; ``checks.py``: the checks of both.
* ``table.py``: the verdict, as one table.
"""
