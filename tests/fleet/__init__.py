"""A fleet of workers under load, and what must be true of it afterwards: what the kill cycle and the fault bench share.

* ``asks.py``: what a client asks; ``seen.py``: what it saw; ``stream.py``: how it reads a stream.
* ``fleet.py``: the workers, each with an LLM of its own, so that its calls are known for sure.
* ``happenings.py``: what was done to them.
* ``told.py``: what stands in the log; ``views.py``: what the workers say; ``checks.py``: what must be true of both.
* ``table.py``: the verdict, as one table.
"""
