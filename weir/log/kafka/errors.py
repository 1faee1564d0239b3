"""Maps Kafka's errors to those of `weir.log.log`: whether the same call may succeed later, or not.

Messages are one line, name the operation that failed, and hold neither credentials nor record contents.
"""

import ssl

from aiokafka import errors as kafka

from weir.log.log import LogError, LogRefusedError, LogUnavailableError, RecordTooLargeError

__all__ = ["log_error"]

_FORBIDDEN = (
    kafka.ClusterAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.TopicAuthorizationFailedError,
)
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)
_REFUSED = (
    *_FORBIDDEN,
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.IllegalSaslStateError,
    kafka.IncompatibleBrokerVersion,
    kafka.InvalidConfigurationError,
    kafka.InvalidPartitionsError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidTopicError,
    kafka.PolicyViolationError,
    kafka.SaslAuthenticationFailed,
    kafka.UnknownTopicOrPartitionError,
    kafka.UnsupportedSaslMechanismError,
    kafka.UnsupportedVersionError,
    ssl.SSLCertVerificationError,
)


def log_error(error: BaseException, doing: str) -> LogError:
    """The `LogError` for an exception of a Kafka call.

    Args:
        error: the exception.
        doing: the operation that failed, for the message, such as ``"read chat-chunks-3"``.
    """
    if isinstance(error, LogError):
        return error
    if isinstance(error, TimeoutError | kafka.KafkaTimeoutError | kafka.RequestTimedOutError):
        return LogUnavailableError(f"cannot {doing}: Kafka did not answer in time")
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, _FORBIDDEN):
        reason = f"the Kafka user may not, an ACL is missing ({reason})"
    if isinstance(error, _TOO_LARGE):
        return RecordTooLargeError(f"cannot {doing}: the record is larger than the topic takes ({reason})")
    kind = LogRefusedError if isinstance(error, _REFUSED) else LogUnavailableError
    return kind(f"cannot {doing}: {reason}")
