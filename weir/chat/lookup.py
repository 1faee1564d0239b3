"""Finds a request's row, on any worker."""

from itertools import repeat

from weir.chat.ends import Ends
from weir.chat.lifecycle import State
from weir.chat.states import RequestRows, superseded
from weir.envelope import Json
from weir.errors import NotFoundError, UnavailableError
from weir.peers import Owners
from weir.timing import retry
from weir.worker import Worker

HTTP_OK, HTTP_NOT_FOUND = 200, 404
FRESH_S = 1.0  # a request that was accepted just now has its row within this time
LOOK_S = 0.05


class Lookup:
    """Finds rows for one worker.

    Args:
        worker: this worker.
        owners: finds and asks the other workers.
        requests: this worker's requests table.
        ends: its terminals table.
    """

    def __init__(self, worker: Worker, owners: Owners, *, requests: RequestRows, ends: Ends) -> None:
        self._worker, self._owners = worker, owners
        self._requests, self._ends = requests, ends

    async def row(self, uid: str, *, forwarded: bool = False) -> Json:
        """Return the row of a request, from here or from the worker that owns it.

        Args:
            uid: the request's uid.
            forwarded: whether another worker asks, because it takes this one for the owner.

        Raises:
            NotFoundError: no worker knows the request.
            UnavailableError: the worker that owns the request is away.
        """
        owner = self._owners.of("requests", uid.encode())
        if owner is not None and not forwarded:
            status, row = await self._owners.ask(owner, f"/requests/{uid}")
            if status == HTTP_OK:
                return row
            if status != HTTP_NOT_FOUND:
                raise UnavailableError(
                    "The worker that owns this request does not answer; ask again.", code="owner_away"
                )
        elif owner is not None or self._worker.rebalancing:
            # Two workers disagree about the owner, or no worker knows it yet: the request may exist all the same.
            raise UnavailableError("The workers are sharing out their partitions; ask again.", code="rebalancing")
        elif (found := self._own_row(uid)) is not None:
            return found
        raise _unknown(uid)

    async def fresh(self, uid: str) -> Json:
        """Return the row of a request that may have been accepted just now.

        Raises:
            NotFoundError, UnavailableError: as for `row`.
        """

        async def identified() -> Json:
            row = await self.row(uid)
            if row.get("rid") is None:  # no event has named yet the submission of the uid that counts
                raise _unknown(uid)
            return row

        return await retry(identified, NotFoundError, pauses_s=repeat(LOOK_S), limit_s=FRESH_S)

    def _own_row(self, uid: str) -> Json | None:
        """Return a row of this worker.

        Its state is the one of its trace events so far, here as in lists and filters: a row that shows an end shows all
        about that end. The terminals table knows sooner which submission counts and where the answer is in the log.
        Those are added, so that the answer can be read while its row still runs (`weir.chat.states.has_ended`).
        """
        row, ended = self._requests.get(uid), self._ends.get(uid)
        if ended is None or superseded(row, ended.rid):
            return row
        known = {"rid": ended.rid, "tenant": ended.tenant, "first": ended.first, "last": ended.last}
        return {"uid": uid, "state": State.UNKNOWN, "attempts": [], **(row or {}), **known}


def _unknown(uid: str) -> NotFoundError:
    return NotFoundError(f"No request '{uid}' is known.", code="request_not_found")
