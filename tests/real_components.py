"""What a test does that needs a real component which is not there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lack(message: str) -> NoReturn:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("REQUIRE_REAL") == "1":
        pytest.fail(f"REQUIRE_REAL=1, but {message}")
    pytest.skip(message)
