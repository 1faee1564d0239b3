"""A request's row, from whichever worker has it."""

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
FRESH_S = 1.0  # a request that was accepted just now has its row after so long
LOOK_S = 0.05


class Lookup:
    """Finds rows, for one worker.

    Args:
        worker: which.
        owners: the other workers.
        requests: this worker's requests table.
        ends: its terminals table.
    """

    def __init__(self, worker: Worker, owners: Owners, *, requests: RequestRows, ends: Ends) -> None:
        self._worker, self._owners = worker, owners
        self._requests, self._ends = requests, ends

    async def row(self, uid: str, *, forwarded: bool = False) -> Json:
        """The row of a request, from here or from its owner.

        Args:
            uid: the request.
            forwarded: another worker asks, because it takes this one for the owner.

        Raises:
            NotFoundError: nobody knows it.
            UnavailableError: its owner is away.
        """
        owner = self._owners.of("requests", uid.encode())
        if owner is not None and not forwarded:
            status, row = await self._owners.ask(owner, f"/requests/{uid}")
            if status == HTTP_OK:
                return row
            if status != HTTP_NOT_FOUND:
                raise UnavailableError("The worker that knows this request cannot tell; ask again.", code="owner_away")
        elif owner is not None or self._worker.rebalancing:
            # Two workers disagree about who owns it, or nobody knows yet: that is no reason to deny it.
            raise UnavailableError("The workers are sharing out their partitions; ask again.", code="rebalancing")
        elif (found := self._own_row(uid)) is not None:
            return found
        raise _unknown(uid)

    async def fresh(self, uid: str) -> Json:
        """The row of a request that may have been accepted just now.

        Raises:
            NotFoundError, UnavailableError: as for `row`.
        """

        async def identified() -> Json:
            row = await self.row(uid)
            if row.get("rid") is None:  # no event has told yet which submission of the uid counts
                raise _unknown(uid)
            return row

        return await retry(identified, NotFoundError, pauses_s=repeat(LOOK_S), limit_s=FRESH_S)

    def _own_row(self, uid: str) -> Json | None:
        """A row of this worker.

        Its state is what its trace events have told so far, here as in lists and filters: a row that shows an end shows
        all about that end. The terminals table knows sooner which submission counts and where the answer stands in the
        log. Those are added, so that the answer can be read while its row still runs (`weir.chat.states.has_ended`).
        """
        row, ended = self._requests.get(uid), self._ends.get(uid)
        if ended is None or superseded(row, ended.rid):
            return row
        known = {"rid": ended.rid, "tenant": ended.tenant, "first": ended.first, "last": ended.last}
        return {"uid": uid, "state": State.UNKNOWN, "attempts": [], **(row or {}), **known}


def _unknown(uid: str) -> NotFoundError:
    return NotFoundError(f"No request '{uid}' is known.", code="request_not_found")
