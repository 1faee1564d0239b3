"""Read the answer to a request out of the log: for doors that deliver it while it is written, and for stored answers.

``identifying.py`` finds whose answer a submission gets, ``following.py`` tells it from there on to its end, and
``resuming.py`` goes on behind a chunk that a reader has. ``delivery.py`` says what each record adds for a reader,
``pages.py`` how much readers hold at a time, and ``stored.py`` reads what is in the log already.
"""
