"""The embedded broker: a durable partitioned log in one SQLite file, for one worker and any number of local readers."""
