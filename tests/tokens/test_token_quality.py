"""Corpus quality against numbers worked out by hand, and by plain loops on a real recording's codes."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections import Counter
from itertools import chain, groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from token_stores import write_store

from audiokd.cli import main
from audiokd.errors import AudiokdError
from audiokd.stages import store as stage
from audiokd.tokens.group_use import OTHERS, GroupUse
from audiokd.tokens.quality import corpus_stats
from audiokd.tokens.quality_tables import quality_tables, render_quality
from audiokd.tokens.repetition import repetition
from audiokd.tokens.store import StoreItem

RATE = 100.0  # of META: 160 samples a frame


def item(utt_id: str, codes, speaker: str | None = None, seconds: float | None = None) -> StoreItem:
    codes = np.atleast_2d(np.array(codes, int))
    return StoreItem(
        utt_id, codes, round(16000 * (codes.shape[1] / RATE if seconds is None else seconds)), 16000, None, speaker
    )


def test_repetition_by_hand() -> None:
    codes = [1, 2, 1, 2, 1, 2, 5, 5, 5, 5, 5, 9, 1, 2, 3]
    found = repetition(np.array(codes), np.array([6, 5, 0, 1, 3]))
    # 121212: bigrams 12 21 12 21 12, three of them seen before; trigrams 121 212 121 212; four-grams 1212 2121 1212
    assert found.ngrams.tolist() == [[5, 4, 3], [4, 3, 2], [0, 0, 0], [0, 0, 0], [2, 1, 0]]
    assert found.repeated.tolist() == [[3, 2, 1], [3, 2, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert found.longest_run.tolist() == [1, 5, 0, 1, 1]
    np.testing.assert_allclose(found.entropy, [1, 0, math.nan, 0, math.log2(3)])


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=5))
def test_repetition_agrees_with_plain_loops(utterances: list[list[int]]) -> None:
    found = repetition(np.array(list(chain(*utterances)), int), np.array([len(u) for u in utterances]))
    for i, u in enumerate(utterances):
        for k, n in enumerate((2, 3, 4)):
            grams = [tuple(u[j : j + n]) for j in range(len(u) - n + 1)]
            assert (found.ngrams[i, k], found.repeated[i, k]) == (len(grams), len(grams) - len(set(grams)))
        assert found.longest_run[i] == max((len(list(g)) for _, g in groupby(u)), default=0)
        if u:
            assert found.entropy[i] == pytest.approx(entropy(list(Counter(u).values()), base=2), abs=1e-12)


def test_large_codebooks_are_looked_at_in_parts() -> None:
    """Too many different codes for one number: utterances are halved, and one alone is sorted by columns."""
    rng = np.random.default_rng(0)
    rows = [np.tile(rng.permutation(n), 2) for n in (40000, 3, 20000)]
    found = repetition(np.concatenate(rows), np.array([len(r) for r in rows]))
    assert found.ngrams[:, 0].tolist() == [79999, 5, 39999]
    assert found.repeated.tolist() == [[39999, 39998, 39997], [2, 1, 0], [19999, 19998, 19997]]
    np.testing.assert_allclose(found.entropy, np.log2([40000, 3, 20000]))


def test_codebooks_by_hand(tmp_path: Path) -> None:
    items = [item("a", [[0, 1, 0, 1], [3, 3, 3, 3]]), item("b", [[1, 1, 1], [0, 1, 2]])]
    stats = corpus_stats(
        write_store(tmp_path / "s", items, per_shard=1, meta={"cardinality": [2, 4], "frame_rate": RATE})
    )
    first, second = stats["codebooks"]
    assert first["histogram"] == [2, 5]
    assert second["histogram"] == [1, 1, 1, 4]
    # pairs of codebook 0: 01 10 01 | 11 11: none from a to b
    assert first["bigram_entropy"] == pytest.approx(entropy([2, 1, 2], base=2))
    assert first["conditional_entropy"] == pytest.approx(entropy([2, 1, 2], base=2) - entropy([2, 3], base=2))
    assert first["repetition"] == {"2": 2 / 5, "3": 0.0, "4": 0.0}
    assert second["repetition"] == {"2": 2 / 5, "3": 1 / 3, "4": 0.0}
    assert first["longest_run"] == {"frames": 3, "seconds": 0.03, "id": "b"}
    assert second["longest_run"] == {"frames": 4, "seconds": 0.04, "id": "a"}
    assert first["bigrams_exact"]
    assert first["entropy"] == pytest.approx(entropy([2, 5], base=2))  # store_stats' own are there too


def test_speakers_and_languages(tmp_path: Path) -> None:
    items = [
        item("a", [0, 0, 1, 1], "ann"),
        item("b", [2, 3], "bob"),
        item("c", [2, 2], "bob"),
        item("d", [0], None),
    ]
    path = write_store(tmp_path / "s", items, meta={"cardinality": [4], "frame_rate": RATE})
    stats = corpus_stats(path, {"ann": "en", "bob": "de", "c": "fr"})  # a speaker's, and an utterance's own
    speakers = {g["name"]: g for g in stats["speakers"]}
    assert list(speakers) == ["ann", "bob", "(not told)"]  # by hours
    ann, bob = speakers["ann"], speakers["bob"]
    assert (ann["utterances"], ann["frames"], ann["hours"]) == (1, 4, 0.04 / 3600)
    assert (bob["utterances"], bob["frames"]) == (2, 4)
    book = ann["codebooks"][0]
    assert (book["used"], book["usage"], book["entropy"], book["perplexity"]) == (2, 0.5, 1.0, 2.0)
    for g, counts in ((ann, [2, 2, 0, 0]), (bob, [0, 0, 3, 1])):
        want = jensenshannon(np.array(counts) / 4, np.array([3, 2, 3, 1]) / 9, base=2) ** 2
        assert g["codebooks"][0]["divergence"] == pytest.approx(want)
    languages = {g["name"]: g["utterances"] for g in stats["languages"]}
    assert languages == {"en": 1, "de": 1, "fr": 1, "(not told)": 1}
    assert "languages" not in corpus_stats(path)


def test_speakers_beyond_the_memory_are_counted_together() -> None:
    use = GroupUse([4], cells=8)
    for i in range(5):
        use.add(f"s{i}", np.array([[i % 4]]), 1.0)
    use.add("s0", np.array([[3]]), 1.0)
    found = {g["name"]: (g["utterances"], g["codebooks"][0]["used"]) for g in use.result([np.array([2, 1, 1, 2])])}
    assert found == {"s0": (2, 2), "s1": (1, 1), OTHERS: (3, 3)}


def test_outliers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [item(f"fine-{i:02d}", rng.integers(0, 64, 200)) for i in range(40)]
    items += [
        item("monotone", [7] * 150 + rng.integers(0, 64, 50).tolist(), "ann"),
        item("loop", [*range(8)] * 25),
        item("slow", rng.integers(0, 64, 100), seconds=2.0),
        item("empty", np.zeros((1, 0)), seconds=0.5),
        item("short", [5] * 10),  # too short to say anything of
    ]
    path = write_store(tmp_path / "s", items, meta={"cardinality": [64], "frame_rate": RATE})
    stats = corpus_stats(path, listen=3)
    by_reason: dict[str, list[str]] = {}
    for o in stats["outliers"]:
        by_reason.setdefault(o["reason"], []).append(o["id"])
    assert by_reason["entropy"] == ["monotone", "loop"]
    assert set(by_reason["repetition"]) == {"monotone", "loop"}
    assert by_reason["repetition"][0] == "loop"  # 8 of its 197 four-grams are new
    assert by_reason["longest_run"] == ["monotone"]
    assert by_reason["token_rate"] == ["empty", "slow"]
    why = {(o["reason"], o["id"]): o["why"] for o in stats["outliers"]}
    assert why["token_rate", "empty"] == "no code at all in 0.50 s"
    assert why["token_rate", "slow"] == "50 codes a second in place of 100"
    assert why["repetition", "loop"].startswith("96% of its 4-grams stood in it before")
    assert "one code for 1.5" in why["longest_run", "monotone"]
    assert "standard deviations away" in why["entropy", "monotone"]
    monotone = next(o for o in stats["outliers"] if o["id"] == "monotone")
    assert (monotone["speaker"], monotone["seconds"], monotone["frames"]) == ("ann", 2.0, 200)
    assert len(corpus_stats(path, listen=1)["outliers"]) == 4  # one of each reason
    assert corpus_stats(path, listen=0)["outliers"] == []


def test_a_real_recording(store_path: Path, speech_items: list[StoreItem]) -> None:
    stats = corpus_stats(store_path)
    for q, book in enumerate(stats["codebooks"]):
        rows = [i.array[q].tolist() for i in speech_items]
        pairs = Counter(p for r in rows for p in pairwise(r))
        assert book["histogram"] == np.bincount(np.concatenate(rows), minlength=256).tolist()
        assert book["bigram_entropy"] == pytest.approx(entropy(list(pairs.values()), base=2))
        for n in (2, 3, 4):
            grams = [[tuple(r[j : j + n]) for j in range(len(r) - n + 1)] for r in rows]
            repeated = sum(len(g) - len(set(g)) for g in grams)
            assert book["repetition"][str(n)] == pytest.approx(repeated / sum(map(len, grams)))
        assert book["longest_run"]["frames"] == max(len(list(g)) for r in rows for _, g in groupby(r))
    assert [(g["name"], g["utterances"]) for g in stats["speakers"]] == [("reader", 10)]
    assert stats["speakers"][0]["codebooks"][0]["divergence"] == pytest.approx(0, abs=1e-12)
    assert stats["codebooks"][0]["repetition"]["2"] > stats["codebooks"][0]["repetition"]["4"]


def test_many_codes_share_counters(tmp_path: Path) -> None:
    """16,384 codes: 2^28 pairs would not fit; as many random codes as here hardly collide."""
    codes = np.random.default_rng(0).integers(0, 16384, 3000)
    path = write_store(tmp_path / "s", [item("a", codes)], meta={"cardinality": [16384], "frame_rate": RATE})
    stats = corpus_stats(path)
    book = stats["codebooks"][0]
    assert not book["bigrams_exact"]
    assert book["bigram_entropy"] == pytest.approx(math.log2(2999), abs=0.01)
    assert f">{book['bigram_entropy']:.4g}" in render_quality(stats)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for n in (500, 5000):
        items = [item(f"{i}", rng.integers(0, 64, 40), f"speaker{i % 7}") for i in range(n)]
        path = write_store(tmp_path / f"{n}", items, per_shard=250, meta={"cardinality": [64], "frame_rate": RATE})
        tracemalloc.start()
        corpus_stats(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_the_command(tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "utt2lang").write_text("reader en\nbeckett/ch.3-é de\n")
    out = tmp_path / "stats.json"
    main(f"store stats {store_path} --languages {tmp_path} --json {out}".split())
    said = capsys.readouterr().out
    for part in ("perplexity", "Repetition.", "repeated 4-grams", "Use by language.", "bit/s by entropy"):
        assert part in said
    assert max(map(len, said.splitlines())) < 160
    stats = json.loads(out.read_text())
    assert {g["name"]: g["utterances"] for g in stats["languages"]} == {"en": 9, "de": 1}
    assert sum(stats["codebooks"][0]["histogram"]) == stats["frames"]
    with pytest.raises(AudiokdError, match="no such file"):
        stage.stats(str(store_path), languages=str(tmp_path / "none"))


def test_features_and_an_empty_store(tmp_path: Path, feature_path: Path) -> None:
    assert corpus_stats(feature_path)["kind"] == "features"
    with pytest.raises(AudiokdError, match="features have no codes"):
        corpus_stats(feature_path, {"reader": "en"})
    stats = corpus_stats(write_store(tmp_path / "s", [], meta={"cardinality": [4]}))
    assert (stats["outliers"], stats["speakers"]) == ([], [])
    assert [title for title, *_ in quality_tables(stats)] == ["Repetition"]
    assert "Repetition" in render_quality(stats)


def test_a_damaged_index_is_named(store_path: Path) -> None:
    index = store_path / "00001" / "index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b"".join(lines[1:]))
    with pytest.raises(AudiokdError, match="the index is damaged"):
        corpus_stats(store_path)
