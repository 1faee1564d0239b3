"""State in changelog tables. Keys and values are bytes: what Faust cannot decode loops for ever in recovery."""
