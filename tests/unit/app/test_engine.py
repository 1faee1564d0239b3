"""The engine by the settings, and packages that are not installed."""

import pytest

from app import engine
from weir.errors import SettingsError


def test_tables_on_disk_need_a_package_and_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.check_store("memory")
    engine.check_store("rocksdb")
    monkeypatch.setattr(engine, "find_spec", lambda _: None)
    engine.check_store("memory")
    with pytest.raises(SettingsError, match="`make install`"):
        engine.check_store("rocksdb")
