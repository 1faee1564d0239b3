"""Reads the answer to a request from the log: for doors that deliver it while it is written, and for stored answers.

``identifying.py`` finds the answer of a submission, ``following.py`` delivers it from there on to its end, and
``resuming.py`` continues after a chunk that a reader has. ``delivery.py`` computes what each record adds for a reader,
``pages.py`` limits what readers hold at a time, and ``stored.py`` reads what is in the log already.
"""
