"""Recipes call `audiokd` many times; it is imported once."""

from __future__ import annotations

import pytest
import warm


@pytest.fixture(scope="session", autouse=True)
def imported() -> None:
    warm.start()
