"""The name under which other workers reach this host."""

import pytest

from weir.settings.hostname import reachable_hostname


def test_a_host_name_that_does_not_resolve_is_not_told_to_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [])
    assert reachable_hostname() == "laptop"
    monkeypatch.setattr("socket.getaddrinfo", fail)
    assert reachable_hostname() == "127.0.0.1"
