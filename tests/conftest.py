"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real recordings (`$SKELETON_DATA`, else `../shared/data`); skips the test where it is absent."""
    folder = Path(os.environ.get("SKELETON_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set SKELETON_DATA")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder with the small files that tests read."""
    return REPOSITORY / "tests" / "fixtures"
