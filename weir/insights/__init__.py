"""Figures over tumbling windows of event time, and the breaches in them. Pure: no Faust, no broker, no clock.

An event is read (``reading``), and folded by the shard of its partition (``shard``) into the window (``window``) of its
tenant and model; rows are kept in any mapping of bytes (``rows``). When a window closes, it is judged (``judging``)
against limits and against the windows before it, and breaches are put into words (``wording``).

The same records give the same windows and the same insights, however often they are read, and in whatever order the
partitions come: no module here asks for the time.
"""
