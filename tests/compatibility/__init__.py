"""Compatibility: the peculiarities of other people's servers, clients and brokers, and Weir's handling of them.

Each module with a ``SHEET`` is a table of cases, made after what such programs were seen to do; the tests beside it run
every case on every path that applies. docs/compatibility.md is made from the sheets.
"""
