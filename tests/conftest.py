"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Path:
    """The folder of real archives, golden figures and weights beside the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with the real material is not there")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One cache for the whole session (phantoms are drawn once), never the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EHANET_CACHE", str(folder))
        yield folder


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path / "fresh-cache"
    monkeypatch.setenv("EHANET_CACHE", str(folder))
    return folder


def pytest_collection_modifyitems(items):
    """The file that takes minutes first, then the notebooks: what is long must not begin when the others are done."""
    items.sort(key=lambda item: (0 if "test_workflow_smoke.py" in item.nodeid else 1 if ".ipynb::" in item.nodeid else 2))
