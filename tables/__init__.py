"""State in changelog tables, declared here and read and written through typed rows (`weir.table_rows`).

Keys and values are bytes: a value that Faust cannot decode makes its recovery loop for ever.
"""
