"""ABX: the alignment against every path there is, the error against every triple there is, and known answers."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from phone_sets import per_frame, phone_set

from audiokd.data.ctm import Phone
from audiokd.errors import AudiokdError
from audiokd.eval.abx import abx, dtw


def paths(a: int, b: int) -> list[list[tuple[int, int]]]:
    """All ways from (0, 0) to (a, b) by steps of one in either or both."""
    if a < 0 or b < 0:
        return []
    if a == b == 0:
        return [[(0, 0)]]
    return [[*p, (a, b)] for d in ((1, 1), (1, 0), (0, 1)) for p in paths(a - d[0], b - d[1])]


def slow_dtw(cells: np.ndarray) -> float:
    """The mean along the best of all paths: least sum, then fewest steps."""
    sums = [
        (round(float(sum(cells[at] for at in p)), 9), len(p)) for p in paths(cells.shape[0] - 1, cells.shape[1] - 1)
    ]
    least, steps = min(sums)
    return least / steps


@pytest.mark.parametrize("kind", ["real", "binary"])
def test_alignment_is_the_best_of_all_paths(kind):
    rng = np.random.default_rng(0)
    cells = rng.random((20, 5, 6)) if kind == "real" else rng.integers(0, 2, (20, 5, 6)).astype(float)
    a, b = rng.integers(1, 6, 20), rng.integers(1, 7, 20)
    expected = [slow_dtw(c[:i, :j]) for c, i, j in zip(cells, a, b)]
    assert dtw(cells, a, b) == pytest.approx(expected)
    assert dtw(cells.transpose(0, 2, 1), b, a) == pytest.approx(expected)  # d(A, X) = d(X, A)


def slow_abx(phones, features, rate, speakers, mode, context) -> float:
    """Every triple by itself, by the definition."""
    items = defaultdict(list)
    for utt in sorted(phones):
        by_three = zip(phones[utt], phones[utt][1:], phones[utt][2:])
        for left, mid, right in by_three if context == "triphone" else zip(*[phones[utt]] * 3):
            points = np.arange(round(left.start_s * 100), round(right.end_s * 100))
            frames = [int((k + 0.5) / 100 * rate) for k in points]
            x = np.array([features[utt][f] for f in frames if f < len(features[utt])])
            beside = (left.label, right.label) if context == "triphone" else ()
            items[beside].append((speakers[utt], mid.label, x))

    def distance(a, b):
        if a.ndim == 1:
            cells = (a[:, None] != b[None]).astype(float)
        else:
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
            cells = np.arccos(np.clip(a @ b.T, -1, 1)) / np.pi
        return dtw(cells[None], np.array([len(a)]), np.array([len(b)]))[0]

    score = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list))))
    for beside, of in items.items():
        for (i, a), (_, b), (k, x) in product(enumerate(of), enumerate(of), enumerate(of)):
            same = (x[0] == a[0]) == (mode == "within")
            if i != k and a[1] == x[1] != b[1] and a[0] == b[0] and same:
                further = distance(a[2], x[2]) - distance(b[2], x[2])
                error = 0.5 if abs(further) < 1e-6 else float(further > 0)
                score[a[1], b[1]][a[0]][x[0]][beside].append(error)
    mean = lambda values: float(np.mean(list(values)))  # noqa: E731
    return mean(
        mean(mean(mean(mean(e) for e in contexts.values()) for contexts in of_x.values()) for of_x in of.values())
        for of in score.values()
    )


@pytest.mark.parametrize("mode", ["within", "across"])
@pytest.mark.parametrize("kind", ["features", "codes"])
@pytest.mark.parametrize("context", ["triphone", "any"])
def test_error_is_that_of_every_triple(mode, kind, context, monkeypatch):
    monkeypatch.setattr("audiokd.eval.abx.ITEMS", 10)  # several batches of one context
    phones = phone_set(6, 30 if context == "triphone" else 9)
    speakers = {u: u.split("-")[0] for u in phones}
    rng = np.random.default_rng(3)
    noisy = {u: np.eye(5)[c] + 0.5 * rng.standard_normal((c.size, 5)) for u, c in per_frame(phones, 25).items()}
    heard = noisy if kind == "features" else {u: x.argmax(1) for u, x in noisy.items()}
    found = abx(phones, heard, 25, speakers, mode, max_items=100, context=context)
    expected = slow_abx(phones, heard, 25, speakers, mode, context)
    assert 0.02 < expected < 0.49
    assert found["error"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert found["distance"] == {"features": "angle", "codes": "equal"}[kind]
    assert found["speakers"] == 3


@pytest.mark.parametrize("mode", ["within", "across"])
def test_phones_themselves_are_perfect_and_noise_is_chance(mode):
    phones = phone_set(18, 60)
    speakers = {u: u.split("-")[0] for u in phones}
    same = abx(phones, per_frame(phones), 100, speakers, mode, max_items=3)["error"]
    assert same["mean"] == 0.0
    rng = np.random.default_rng(4)
    noise = {u: rng.standard_normal((c.size, 4)) for u, c in per_frame(phones, 25).items()}
    found = abx(phones, noise, 25, speakers, mode, max_items=4)["error"]
    assert found["mean"] == pytest.approx(0.5, abs=0.03)
    assert found["low"] < 0.5 < found["high"]
    constant = {u: np.ones((c.size, 4)) for u, c in per_frame(phones, 25).items()}
    assert abx(phones, constant, 25, speakers, mode, max_items=3)["error"]["mean"] == 0.5


def test_a_speaker_in_the_features_costs_across_only():
    """Features that hold the phone, and the speaker three times louder: within stays perfect, across does not."""
    phones = phone_set(18, 60)
    speakers = {u: u.split("-")[0] for u in phones}
    voice = {"spk0": [3, 0, 0], "spk1": [0, 3, 0], "spk2": [0, 0, 3]}
    mixed = {
        u: np.concatenate([np.eye(5)[c], np.tile(voice[speakers[u]], (c.size, 1))], 1)
        for u, c in per_frame(phones).items()
    }
    rng = np.random.default_rng(5)
    blurred = {u: x + 0.8 * rng.standard_normal(x.shape) for u, x in mixed.items()}
    within, across = (abx(phones, blurred, 100, speakers, m, 3)["error"]["mean"] for m in ("within", "across"))
    assert abx(phones, mixed, 100, speakers, "within", 3)["error"]["mean"] == 0.0
    assert within < across


def test_silence_gaps_and_caps():
    joined = [Phone(k / 10, (k + 1) / 10, p) for k, p in enumerate("batbotbatbot")]
    rate, codes = 10, np.array([0, 1, 2, 0, 3, 2] * 2)
    found = abx({"u": joined}, {"u": codes}, rate)
    assert (found["triples"], found["error"]["mean"]) == (8, 0.0)  # bat against bot and back, each: 2 (A, X) by 2 B
    silent = [p._replace(label="sil") if p.label == "t" else p for p in joined]
    assert abx({"u": silent}, {"u": codes}, rate)["triples"] == 0
    assert abx({"u": silent}, {"u": codes}, rate, silence=())["triples"] == 8
    gap = [p if p.label != "t" else p._replace(start_s=p.start_s + 0.05) for p in joined]
    assert abx({"u": gap}, {"u": codes}, rate)["error"]["mean"] is None
    assert abx({"u": joined}, {"u": codes}, rate, max_items=1)["triples"] == 0
    assert abx({"u": joined}, {"u": codes}, rate, {"u": "x"}, "across")["triples"] == 0
    phones = phone_set(18, 60)
    noise = {u: np.random.default_rng(6).standard_normal((c.size, 4)) for u, c in per_frame(phones, 25).items()}
    few, more = (abx(phones, noise, 25, max_items=m)["triples"] for m in (3, 5))
    assert few < more
    assert abx(phones, noise, 25, max_items=3) == abx(phones, noise, 25, max_items=3)
    assert abx(phones, noise, 25, max_items=3, seed=1)["error"] != abx(phones, noise, 25, max_items=3)["error"]
    with pytest.raises(AudiokdError, match="none of 1 utterances and 1 with phones has both"):
        abx({"u": joined}, {"v": codes}, rate)
