"""Codebook statistics against numbers worked out by hand and by scipy on a real recording."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import entropy
from token_stores import write_store

from audiokd.tokens.stats import render_stats, store_stats
from audiokd.tokens.store import StoreItem


def test_by_hand(tmp_path: Path) -> None:
    codes = np.array([[0, 0, 1, 1], [7, 7, 7, 7], [0, 1, 2, 3]])  # 1 bit, 0 bits, 2 bits
    meta = {"cardinality": [2, 8, 1024], "frame_rate": 50.0}
    items = [StoreItem("a", codes[:, :1], 320, 16000), StoreItem("b", codes[:, 1:], 960, 16000)]
    stats = store_stats(write_store(tmp_path / "s", items, per_shard=1, meta=meta))
    books = stats["codebooks"]
    assert [b["entropy"] for b in books] == [1.0, 0.0, 2.0]
    assert [b["perplexity"] for b in books] == [2.0, 1.0, 4.0]
    assert [b["usage"] for b in books] == [1.0, 1 / 8, 4 / 1024]
    assert [b["dead"] for b in books] == [0, 7, 1020]
    assert stats["tokens_per_second"] == 150.0
    assert stats["nominal_bitrate"] == 50 * (1 + 3 + 10)
    assert stats["entropy_bitrate"] == 50 * 3
    assert stats["hours"] == pytest.approx(1280 / 16000 / 3600)
    assert (stats["utterances"], stats["frames"], stats["shards"], stats["failed"]) == (2, 4, 2, 0)


def test_real_recording_agrees_with_scipy(store_path: Path, speech_items: list[StoreItem]) -> None:
    stats = store_stats(store_path)
    frames = np.concatenate([i.array for i in speech_items], axis=1)
    for q, book in enumerate(stats["codebooks"]):
        count = np.bincount(frames[q], minlength=256)
        assert book["entropy"] == pytest.approx(entropy(count, base=2), abs=1e-12)
        assert book["perplexity"] == pytest.approx(math.exp(entropy(count)), rel=1e-12)
        assert book["used"] == len(np.unique(frames[q]))
    assert stats["failed"] == 1
    assert stats["hours"] * 3600 == pytest.approx(150000 / 16000)
    assert stats["entropy_bitrate"] < stats["nominal_bitrate"] == 1600
    table = render_stats(stats)
    assert "10 utterances" in table
    assert len(table.splitlines()) == 6


def test_features_agree_with_numpy(feature_path: Path, feature_items: list[StoreItem]) -> None:
    x = np.concatenate([i.array for i in feature_items]).astype(np.float64)
    stats = store_stats(feature_path)
    assert (stats["min"], stats["max"]) == (x.min(), x.max())
    assert (stats["mean"], stats["std"]) == (pytest.approx(x.mean(), abs=1e-12), pytest.approx(x.std(), rel=1e-12))
    assert (stats["feature_dim"], stats["dtype"]) == (2, "float32")
    assert "2 features a frame, float32" in render_stats(stats)


def test_a_store_of_nothing(tmp_path: Path) -> None:
    stats = store_stats(write_store(tmp_path / "s", [], meta={"cardinality": [4]}))
    assert (stats["frame_rate"], stats["entropy_bitrate"], stats["codebooks"][0]["entropy"]) == (None, None, None)
    assert "0 utterances" in render_stats(stats)
    stats = store_stats(write_store(tmp_path / "f", [], meta={}, kind="features"))
    assert stats["mean"] is None
    assert "mean -" in render_stats(stats)
