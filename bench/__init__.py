"""Benchmarks: Weir beside no proxy and a bare proxy, all in one run. Not timed tests: figures, ratios, a plot."""
