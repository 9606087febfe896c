"""A few seconds of real speech for the metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance


@pytest.fixture(scope="session")
def speech(beckett: Path) -> np.ndarray:
    """The first 6 s of beckett.wav, 16 kHz `[96000]`."""
    return load_at(Utterance("beckett", str(beckett)), 16_000)[: 6 * 16_000]
