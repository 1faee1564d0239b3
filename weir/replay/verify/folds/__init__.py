"""Each table made anew from its topics, in memory, by the code of its agent: one partition at a time."""
