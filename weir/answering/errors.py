"""The errors with which a worker itself ends a request, as a terminal carries them."""

EXPIRED = {
    "message": "No worker had begun the request by its deadline.",
    "type": "timeout_error",
    "param": None,
    "code": "deadline_exceeded",
    "status": 504,
}
FORGOTTEN = {
    "message": "The log no longer keeps the records that may hold this request's answer.",
    "type": "timeout_error",
    "param": None,
    "code": "log_truncated",
    "status": 410,
}
UNDECIDED = {
    "message": "No attempt at this request counts in the log.",
    "type": "server_error",
    "param": None,
    "code": "void_marks",
    "status": 500,
}
INTERNAL_ERROR = {"message": "internal error", "type": "server_error", "param": None, "code": "internal_error"}


class NotBegunError(Exception):
    """The request is not begun here: this worker stops, or the request is not in the log. Its next owner begins it."""
