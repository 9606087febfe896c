"""Names of a whole vocabulary: scores counted by hand, pairings by trying all, similarity by a sentence encoder; the stage."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pairs import tokenizer

from audiokd.data.items import Item, write_items
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.naming import clustering_accuracy, score_names, sentence_vectors
from audiokd.stages.name import name
from audiokd.tokens.store import StoreItem, StoreWriter

TRUE = ["cat", "cat", "dog", "dog", "rain", "clock"]
GIVEN = ["cat", "photo", "rain", "rain", "dog", "photo"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=40, max_position_embeddings=20, **sizes)).save_pretrained(folder)
    tokenizer(20).save_pretrained(folder)
    return folder


def test_by_hand() -> None:
    found = {key: s.mean for key, s in score_names(GIVEN, TRUE).items()}
    assert found["accuracy"] == pytest.approx(1 / 6)
    # cat-cat, rain-dog, dog-rain, photo-clock
    assert found["clustering"] == pytest.approx(5 / 6)
    assert found["iou"] == pytest.approx(3 / 5)
    assert found["missing"] == pytest.approx(1 / 4)
    perfect = score_names(TRUE, TRUE)
    assert {key: s.mean for key, s in perfect.items()} == {"accuracy": 1, "clustering": 1, "iou": 1, "missing": 0}
    with pytest.raises(AudiokdError, match="1 names given to 2 items"):
        score_names(["a"], ["a", "b"])


def test_the_best_pairing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.integers(0, 4, 30), rng.integers(0, 3, 30)
        best = max(
            sum((a == k) & (b == v) for k, v in zip(p, range(3))).sum() for p in itertools.permutations(range(4), 3)
        )
        assert clustering_accuracy(a, b) == pytest.approx(best / 30)


def test_intervals_are_of_the_seed() -> None:
    rng = np.random.default_rng(0)
    true = [f"n{k}" for k in rng.integers(0, 5, 100)]
    given = [t if rng.random() < 0.7 else f"n{rng.integers(0, 9)}" for t in true]
    one, same, other = (score_names(given, true, seed) for seed in (0, 0, 1))
    assert one == same
    assert one["clustering"] != other["clustering"]
    for s in one.values():
        assert s.low is not None
        assert s.high is not None
        assert s.low <= s.mean <= s.high


def test_similarity(encoder: Path) -> None:
    vectors = sentence_vectors(str(encoder), [*TRUE, *GIVEN, "sound of rain"])
    alone = sentence_vectors(str(encoder), ["cat"])
    torch.testing.assert_close(vectors["cat"], alone["cat"], atol=1e-5, rtol=1e-4)  # no padding is heard
    found = score_names(GIVEN, TRUE, vectors=vectors)["similarity"].mean
    assert found == pytest.approx(np.mean([float(vectors[g] @ vectors[t]) for g, t in zip(GIVEN, TRUE)]), rel=1e-6)
    with pytest.raises(AudiokdError, match="no such folder"):
        sentence_vectors("./nowhere", ["cat"])


def test_the_stage(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = sorted({*GIVEN, *TRUE})
    store = StoreWriter(tmp_path / "store", "features", {"layer": "logits", "labels": names, "task": "class"})
    rows = []
    for k, given in enumerate(GIVEN):
        logits = np.zeros((1, len(names)), np.float32)
        logits[0, names.index(given)] = 1
        rows.append(StoreItem(f"p{k}", logits, 1, 1))
    store.write_shard("00000", rows)
    store.finish(["00000"])
    items = [Item(f"p{k}", str(tmp_path / f"p{k}.png"), t) for k, t in enumerate(TRUE)]
    (tmp_path / "data").mkdir()
    write_items(tmp_path / "data", items[:-1])
    out = tmp_path / "names.json"
    found = name(str(tmp_path / "store"), str(tmp_path / "data"), str(out), similarity=str(encoder))
    assert json.loads(out.read_text()) == found
    assert (found["rows"], found["without_label"]) == (5, 1)
    assert found["scores"]["accuracy"]["mean"] == pytest.approx(1 / 5)
    assert (found["missing"], found["strange"]) == ([], ["photo"])
    assert "semantic similarity" in (tmp_path / "names.md").read_text()
    assert "no conclusion can be drawn" in capsys.readouterr().out  # one in five names, five items
    with pytest.raises(ConfigError, match="out is the JSON file"):
        name(str(tmp_path / "store"), str(tmp_path / "data"), str(tmp_path / "x.md"))
    write_items(tmp_path / "data", [items[-1].with_(id="other")])
    with pytest.raises(AudiokdError, match="none of its 6 items has a label"):
        name(str(tmp_path / "store"), str(tmp_path / "data"), str(out))
