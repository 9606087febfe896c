"""Stores for these tests: mu-law codes of a real recording, cut into utterances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from token_stores import mu_law, write_store

from audiokd.tokens.store import StoreItem


@pytest.fixture(scope="session")
def speech_items(beckett: Path) -> list[StoreItem]:
    """Ten utterances of the recording. Codebook 0: the mu-law id of each 160th sample; codebook 1: of the one after."""
    x, rate = sf.read(beckett)
    cuts = np.array_split(x[:150000], [7000, 20000, 20160, 50000, 70001, 90000, 99999, 120000, 140000])
    items = []
    for i, cut in enumerate(cuts):
        frames = len(cut) // 160
        codes = mu_law(np.stack([cut[: frames * 160 : 160], cut[1 : frames * 160 : 160]]))
        text = None if i == 3 else f"part {i} – Beckett"
        items.append(StoreItem(f"beckett/ch.{i}-é", codes, len(cut), rate, text=text, speaker="reader"))
    return items


@pytest.fixture
def store_path(tmp_path: Path, speech_items: list[StoreItem]) -> Path:
    failed = [{"id": "beckett/bad", "where": "/corpus/bad.wav", "error": "/corpus/bad.wav: empty recording"}]
    return write_store(tmp_path / "store", speech_items, errors=failed)


@pytest.fixture
def feature_items(speech_items: list[StoreItem]) -> list[StoreItem]:
    """The codes as floats in [-1, 1], frame-major."""
    return [
        StoreItem(i.id, (i.array.T / 127.5 - 1).astype(np.float32), i.num_samples, i.sample_rate, i.text, i.speaker)
        for i in speech_items
    ]


@pytest.fixture
def feature_path(tmp_path: Path, feature_items: list[StoreItem]) -> Path:
    meta = {"sample_rate": 16000, "frame_rate": 100.0, "feature_dim": 2, "model_sha256": "c" * 64}
    return write_store(tmp_path / "features", feature_items, meta=meta, kind="features")
