"""Beats: the decoder finds the likeliest path there is, a probe hears a metronome behind noise, and files are checked."""

from __future__ import annotations

from pathlib import Path

import mir_eval.beat
import numpy as np
import pytest

from audiokd.data.beats import read_beats, write_beats
from audiokd.errors import AudiokdError
from audiokd.eval.beat_probe import BeatSet, beat_f1, beat_probe, beat_targets
from audiokd.eval.beat_tracker import PARTS, BeatTracker

RATE = 50.0


def heard(beats: np.ndarray, seconds: float, seed: int = 0, missing: float = 0.0) -> np.ndarray:
    """A network's word at beats and, less loud, elsewhere."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.0, 0.15, int(seconds * RATE))
    for b in beats:
        if rng.random() >= missing and b < seconds:
            said[int(b * RATE)] = rng.uniform(0.5, 0.95)
    return said


def test_the_path_is_the_likeliest() -> None:
    """Against all states and transitions written out as one matrix."""
    tracker = BeatTracker(10.0, slowest=100.0, fastest=215.0)
    assert tracker.lengths.tolist() == [3, 4, 5, 6]
    states = [(n, p) for n in tracker.lengths for p in range(n)]
    move = np.full((len(states), len(states)), -np.inf)
    for i, (n, p) in enumerate(states):
        ways = {m: np.exp(-100 * abs(m / n - 1)) for m in tracker.lengths}
        for j, (m, q) in enumerate(states):
            if p < n - 1 and (m, q) == (n, p + 1):
                move[i, j] = 0.0
            if p == n - 1 and q == 0:
                move[i, j] = np.log(ways[m] / sum(ways.values()))
    for seed in range(5):
        said = np.random.default_rng(seed).uniform(0.01, 0.99, 40)
        sees = np.array(
            [[np.log(a) if p / n < 1 / PARTS else np.log((1 - a) / (PARTS - 1)) for n, p in states] for a in said]
        )
        score, back = sees[0].copy(), []
        for row in sees[1:]:
            ways = score[:, None] + move
            back.append(ways.argmax(0))
            score = ways.max(0) + row
        path = [int(score.argmax())]
        for row in back[::-1]:
            path.append(int(row[path[-1]]))
        assert tracker._path(said).tolist() == path[::-1]


@pytest.mark.parametrize("bpm", [60.0, 97.0, 140.0, 170.0])
def test_a_steady_beat_is_found_where_some_are_not_heard(bpm: float) -> None:
    beats = 0.3 + np.arange(0, 29.5, 60 / bpm)
    found = BeatTracker(RATE)(heard(beats, 30.0, missing=0.2))
    assert beat_f1(beats, found) > 0.97
    assert abs(len(found) - len(beats)) <= 2


def test_it_follows_a_tempo_that_changes() -> None:
    beats = np.cumsum(np.linspace(0.45, 0.6, 60))
    assert beat_f1(beats, BeatTracker(RATE)(heard(beats, beats[-1] + 1))) > 0.97


def test_silence_has_no_beat() -> None:
    assert len(BeatTracker(RATE)(np.zeros(500))) == 0
    assert len(BeatTracker(RATE)(np.zeros(1))) == 0


def test_too_few_frames_a_second() -> None:
    with pytest.raises(AudiokdError, match="4 frames a second are too few for 215"):
        BeatTracker(4.0)


def test_f1_is_mir_evals() -> None:
    """Its own `evaluate`, which leaves the first 5 s out."""
    rng = np.random.default_rng(0)
    beats = np.arange(0.5, 30, 0.5)
    found = np.sort(beats + rng.normal(0, 0.06, len(beats)))
    expected = mir_eval.beat.evaluate(beats, found)["F-measure"]
    assert 0.3 < expected < 0.95
    assert beat_f1(beats, found) == pytest.approx(expected, abs=1e-12)
    assert beat_f1(beats, np.zeros(0)) == 0.0
    assert beat_f1(np.array([1.0, 2.0]), found) is None


def test_targets() -> None:
    """A beat at 0 and one in the last frame have one neighbour; two in a row keep their ones."""
    y = beat_targets(np.array([0.0, 0.5, 0.6, 0.999, 3.0]), 10, 10.0)
    assert y.tolist() == [1.0, 0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 0.5, 0.5, 1.0]


def song(seed: int, layers: int = 3, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Features whose second layer marks beats by the sign of a product; the others are noise."""
    rng = np.random.default_rng(seed)
    beats = rng.uniform(0.1, 0.5) + np.arange(0, 14, 60 / rng.uniform(70, 180))
    x = rng.normal(size=(int(15 * RATE), layers, size)).astype(np.float32)
    mark = np.where(beat_targets(beats, len(x), RATE) == 1, 1.0, -1.0)
    x[:, 1, 1] = (0.5 + np.abs(x[:, 1, 1])) * np.sign(x[:, 1, 0]) * mark
    return x.reshape(len(x), -1), beats


def split(first: int, n: int) -> BeatSet:
    songs = [song(first + i) for i in range(n)]
    return BeatSet([x for x, _ in songs], [b for _, b in songs])


def test_the_layer_that_hears_it_is_found() -> None:
    found = beat_probe(split(0, 10), split(100, 4), split(200, 5), RATE, layers=3, epochs=12)
    assert found.metric == "beat F1"
    assert found.chosen_layer == 2
    assert len(found.dev) == 3
    assert found.test.mean is not None
    assert found.test.mean > 0.9
    assert max(found.dev[0], found.dev[2]) < 0.8
    assert found.test.n == 5


def test_what_is_refused() -> None:
    one = split(0, 1)
    with pytest.raises(AudiokdError, match="size 12 are not 5 layers"):
        beat_probe(one, one, one, RATE, layers=5)
    with pytest.raises(AudiokdError, match="no training recording has a beat"):
        beat_probe(BeatSet(one.frames, [np.zeros(0)]), one, one, RATE)
    with pytest.raises(AudiokdError, match="no dev recording has a beat after 5 s"):
        beat_probe(one, BeatSet(one.frames, [np.array([1.0])]), one, RATE, layers=3, epochs=1)


def test_files_of_beats(tmp_path: Path) -> None:
    write_beats(tmp_path / "utt2beats", {"b": [0.5, 1.0], "a": [], "c": [0.0]})
    assert (tmp_path / "utt2beats").read_text() == "a\nb 0.5000 1.0000\nc 0.0000\n"
    found = read_beats(tmp_path)
    assert {k: v.tolist() for k, v in found.items()} == {"a": [], "b": [0.5, 1.0], "c": [0.0]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a 1.0\na 2.0\n", r"utt2beats:2: a stands there before"),
        ("a 1.0 x\n", r"utt2beats:1: a: could not convert"),
        ("b 1\na 1.0 0.5\n", r"utt2beats:2: a: beat 2 is at 0.5"),
        ("a -1.0\n", r"utt2beats:1: a: beat 1 is at -1.0"),
        ("a 1.0 nan\n", r"utt2beats:1: a: beat 2 is at nan"),
        ("\n", "holds no beats"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "utt2beats").write_text(text)
    with pytest.raises(AudiokdError, match=said):
        read_beats(tmp_path)
