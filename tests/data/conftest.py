from pathlib import Path

import pytest

from ecgcls.data import store


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The records that have been read from their WFDB files."""
    paths: list[Path] = []
    read_record = store.read_record
    monkeypatch.setattr(store, "read_record", lambda path: paths.append(path) or read_record(path))
    return paths
