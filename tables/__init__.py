"""State in changelog tables, declared here and read and written through typed rows (`weir.table_rows`).

Keys and values are bytes: what Faust cannot decode loops for ever in recovery.
"""
