"""Recipes call `audiokd` many times; it is imported once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import warm


@pytest.fixture(scope="session", autouse=True)
def imported() -> None:
    warm.start()


@pytest.fixture(scope="session")
def wav(two_cities: Path) -> np.ndarray:
    """44 s of a real recording at 16 kHz."""
    return sf.read(two_cities, dtype="float32")[0][::3]
