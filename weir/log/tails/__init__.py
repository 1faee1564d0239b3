"""Many readers on few partitions: the records of a partition from a position on, as they are written.

One `Feed` (``feed.py``) per partition takes the live records from ``LogClient.follow`` and hands each to the readers
that want its key. A reader is a `Tail` (``tail.py``), live or behind: a live one gets its records pushed into a bounded
queue, one that is behind reads on from its own position, so that a slow reader delays only itself.

Records that a reader has missed are, cheapest first:

* in the feed's ring of recent records (``ring.py``);
* at the places that the feed's index has for its key (``index.py``), and nowhere else. An index that does not reach
  back so far is extended by one scan (``scan.py``) for all readers that wait for it. So a thousand readers of a log
  cost one reading of it, and their own records;
* in the log, page by page (``pages.py``).

`Tails` (``tails.py``) opens tails, follows a partition from its first reader on, and leaves it some time after its
last. ``limits.py`` limits their memory and their reads.

*Live position* is the offset up to which the feed has delivered: the next record it delivers has that offset or a
higher one. It never runs ahead of the log's end and is normally a few milliseconds behind it. ``Tail.catch_up`` looks
at everything below the live position, which costs no broker call when the reader is live; ``Tail.look`` asks the
broker for the end first, so that no record older than its answer can turn up later.

Offsets without a record, after compaction, are skipped. A reader that is behind may be overtaken by retention: it goes
on at the log's start, and can tell by the offset of its next record.

A log that turns out to be another one than it was (its topic was recreated, or truncated) ends its feed: every reader
of it gets `LogReplacedError` from then on, and a tail that is opened later gets a new feed. So does a reader that comes
with a position which the log has not reached, or with the id of another topic: it would wait for records that never
come, or take those of one log for those of another.

All of it runs on one event loop, without threads. Each record is one object, however many readers get it.
"""

from weir.log.tails.limits import TailLimits
from weir.log.tails.tail import Tail
from weir.log.tails.tails import Tails

__all__ = ["Tail", "TailLimits", "Tails"]
