r"""ABX: of two triphones that differ in their middle phone, is a third one nearer to the one that it equals?

A and X are two tokens of one triphone (say b-a-g), B is one of another with the same neighbours (b-o-g). The error is

.. math:: P(d(A, X) > d(B, X)) + P(d(A, X) = d(B, X)) / 2

0 is perfect, 0.5 is chance. d is the mean distance along the cheapest DTW path on a 10 ms grid (frames repeated): the angle
between feature vectors over pi, or 0 and 1 for equal and other codes. The error is averaged over the contexts (neighbours) of
a phone pair, then over speakers, then over ordered phone pairs. Within: one speaker says all three; across: another says X.

Source: Schatz et al. 2013, "Evaluating speech features with the minimal-pair ABX task" (Interspeech), as ZeroSpeech and
Libri-Light (Kahn et al. 2020, https://arxiv.org/abs/1912.07875) use it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from audiokd.data.ctm import Phone
from audiokd.errors import AudiokdError
from audiokd.eval.grid import centres, frame_of
from audiokd.eval.table import Summary, summarise_drawn

SILENCE = frozenset({"", "pau", "sil", "sp", "spn", "nsn", "SIL", "SP", "SPN", "NSN", "<eps>", "h#"})
JOINED_S = 2e-3  # the phones of a triphone follow each other this closely
SAME = 1e-6  # distances nearer than this are equal: the rounding of equal frames is no opinion
PAIRS = 4096  # aligned at once
MOST, LEAST, WEIGHED = 1000, 100, 50_000_000  # draws of the bootstrap: as many as weigh this many triples together
TRIPLE = [(k, "i4") for k in ("phone", "other", "speaker", "speaker_of_x", "context", "a", "b", "x")] + [
    ("error", "f4")
]


class Item(NamedTuple):
    """A triphone token: names as numbers, and the frame of each of its grid points `[K]`."""

    utt: int
    speaker: int
    phone: int
    frames: np.ndarray


def abx(
    phones: Mapping[str, Sequence[Phone]],
    representations: Mapping[str, np.ndarray],
    frame_rate: float,
    speakers: Mapping[str, str] | None = None,
    mode: Literal["within", "across"] = "within",
    max_items: int = 10,
    max_speakers: int = 5,
    seed: int = 0,
    silence: Collection[str] = SILENCE,
) -> dict[str, Any]:
    """ABX error of a representation on triphone minimal pairs, 0 to 1; lower is better.

    Args:
        phones: phone times by utterance id.
        representations: by utterance id, features `[T', D]` (angle) or codes `[T']` of integers (equal or not).
        frame_rate: of the representation, Hz.
        speakers: speaker by utterance id; without it all is one speaker.
        mode: "within" or "across" speakers.
        max_items: tokens of one triphone by one speaker that are used, drawn with `seed`; all triples of them count.
        max_speakers: across: speakers whose X meet the A and B of one other, drawn with `seed`.
        seed: of the draws and of the bootstrap.
        silence: phones that take part in no triphone.

    Returns:
        error: as `Summary.as_dict` gives it: mean (None where there is no triple), a 95% bootstrap interval over
            utterances (a triple weighs as often as its three utterances are drawn), and n utterances in triples.
        triples, pairs (ordered, of phones), speakers: that took part; mode, distance, max_items, max_speakers, seed.

    Raises:
        AudiokdError: no utterance has both phones and a representation.
    """
    ids = sorted(phones.keys() & representations.keys())
    if not ids:
        what = f"none of {len(representations)} utterances and {len(phones)} with phones has both"
        raise AudiokdError(what, fix="give the phones of the utterances that were tokenized: the ids must be the same")
    coded = representations[ids[0]].ndim == 1
    table = np.concatenate([representations[i] if coded else _unit(representations[i]) for i in ids])
    contexts = _contexts(ids, phones, representations, frame_rate, speakers, silence)
    rng = np.random.default_rng(seed)
    found = [
        _triples(n, contexts[c], table, mode, max_items, max_speakers, rng) for n, c in enumerate(sorted(contexts))
    ]
    triples = np.concatenate([np.zeros(0, TRIPLE), *found])
    return {
        "error": _error(triples, len(ids), rng).as_dict(),
        "triples": len(triples),
        "pairs": len(np.unique(triples[["phone", "other"]])),
        "speakers": len(np.unique(triples[["speaker", "speaker_of_x"]].tolist())),
        "mode": mode,
        "distance": "equal" if coded else "angle",
        "max_items": max_items,
        "max_speakers": max_speakers,
        "seed": seed,
    }


def dtw(cells: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance along the cheapest path (the shortest of equally cheap ones) from corner to corner.

    Args:
        cells: distances `[P, A, B]` of P pairs of sequences, padded.
        a, b: their lengths `[P]`.

    Returns:
        `[P]`. A path steps by one in either sequence or in both.
    """
    p, width, height = cells.shape
    along = np.ascontiguousarray(cells.reshape(p, -1).T)  # [A B, P]: a diagonal is every (B - 1)th row
    last = a + b - 2  # the diagonal on which a pair's path ends
    mean = np.full(p, np.nan)
    # costs and steps on the two diagonals before, by position in the first sequence, one place off for the edge
    cost, steps = np.full((2, width + 1, p), np.inf), np.zeros((2, width + 1, p))
    cost[0, 0] = 0  # before the first cell
    for diagonal in range(width + height - 1):
        i, stop = max(0, diagonal - height + 1), min(width, diagonal + 1)
        here = along[i * height + diagonal - i :][:: max(height - 1, 1)][: stop - i]
        before = (cost[0, i:stop], cost[1, i:stop], cost[1, i + 1 : stop + 1])  # both step, the first, the second
        least = np.minimum(np.minimum(before[0], before[1]), before[2])
        fewest = np.full_like(least, np.inf)
        for c, s in zip(before, (steps[0, i:stop], steps[1, i:stop], steps[1, i + 1 : stop + 1])):
            np.minimum(fewest, s, out=fewest, where=c == least)
        cost, steps = np.roll(cost, -1, 0), np.roll(steps, -1, 0)
        cost[1] = np.inf
        cost[1, i + 1 : stop + 1], steps[1, i + 1 : stop + 1] = least + here, fewest + 1
        ends = np.flatnonzero(last == diagonal)
        mean[ends] = cost[1, a[ends], ends] / steps[1, a[ends], ends]
    return mean


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of `[T', D]` at length 1, in float64: the angle of nearly equal rows needs the digits."""
    x = np.asarray(features, dtype=np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _contexts(
    ids: list[str],
    phones: Mapping[str, Sequence[Phone]],
    representations: Mapping[str, np.ndarray],
    frame_rate: float,
    speakers: Mapping[str, str] | None,
    silence: Collection[str],
) -> dict[tuple[str, str], list[Item]]:
    """Triphone tokens by their neighbours; their frames count over all utterances."""
    of = [speakers.get(i, i) if speakers is not None else "" for i in ids]
    speaker = {name: n for n, name in enumerate(sorted(set(of)))}
    label = {name: n for n, name in enumerate(sorted({p.label for i in ids for p in phones[i]}))}
    contexts: dict[tuple[str, str], list[Item]] = defaultdict(list)
    start = 0
    for n, utt in enumerate(ids):
        size = len(representations[utt])
        for left, middle, right in zip(phones[utt], phones[utt][1:], phones[utt][2:]):
            joined = middle.start_s - left.end_s < JOINED_S and right.start_s - middle.end_s < JOINED_S
            if not joined or {left.label, middle.label, right.label} & set(silence):
                continue
            frames = frame_of(centres(left.start_s, right.end_s), frame_rate)
            frames = frames[frames < size]
            if frames.size:
                item = Item(n, speaker[of[n]], label[middle.label], frames + start)
                contexts[left.label, right.label].append(item)
        start += size
    return contexts


def _triples(
    context: int,
    items: list[Item],
    table: np.ndarray,
    mode: str,
    max_items: int,
    max_speakers: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Every triple of one context with its error."""
    by: dict[tuple[int, int], list[int]] = defaultdict(list)
    for n, item in enumerate(items):
        by[item.phone, item.speaker].append(n)
    drawn = {k: _draw(np.array(by[k]), max_items, rng) for k in sorted(by)}
    blocks = []
    for phone, speaker in drawn:
        others = [q for q, s in drawn if s == speaker and q != phone]
        of_x = [speaker] if mode == "within" else [s for q, s in drawn if q == phone and s != speaker]
        if not others or not of_x or (mode == "within" and len(drawn[phone, speaker]) < 2):
            continue
        for s in _draw(np.array(of_x), max_speakers, rng):
            blocks += [((phone, q, speaker, int(s), context), drawn[phone, speaker], drawn[q, speaker]) for q in others]
    if not blocks:
        return np.zeros(0, TRIPLE)
    xs = [drawn[names[0], names[3]] for names, _, _ in blocks]
    needed = [np.stack(np.meshgrid(np.r_[a, b], x), -1).reshape(-1, 2) for (_, a, b), x in zip(blocks, xs)]
    distance = _distances(items, np.unique(np.sort(np.concatenate(needed), 1), axis=0), table)
    utt = np.array([item.utt for item in items])
    out = []
    for (names, a, b), x in zip(blocks, xs):
        a, b, x = (m.reshape(-1) for m in np.meshgrid(a, b, x, indexing="ij"))
        a, b, x = a[a != x], b[a != x], x[a != x]
        further = distance[a, x] - distance[b, x]
        triples = np.zeros(a.size, TRIPLE)
        for (column, _), value in zip(TRIPLE, (*names, utt[a], utt[b], utt[x])):
            triples[column] = value
        triples["error"] = np.where(np.abs(further) < SAME, 0.5, further > 0)
        out.append(triples)
    return np.concatenate(out)


def _draw(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return values if len(values) <= most else np.sort(rng.choice(values, most, replace=False))


def _distances(items: list[Item], pairs: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Distances `[n, n]` of the items in `pairs` `[P, 2]`, NaN elsewhere."""
    rows, place = np.unique(np.concatenate([item.frames for item in items]), return_inverse=True)
    lengths = np.array([item.frames.size for item in items])
    points = np.zeros((len(items), int(lengths.max())), dtype=np.int64)  # row of each grid point, padded with any
    points[np.arange(points.shape[1]) < lengths[:, None]] = place
    x = table[rows]
    if x.ndim == 1:
        between = (x[:, None] != x[None]).astype(np.float64)
    else:
        between = np.arccos(np.clip(x @ x.T, -1, 1)) / np.pi
    distance = np.full((len(items), len(items)), np.nan)
    for some in np.array_split(pairs, -(-len(pairs) // PAIRS)):
        a, b = some.T
        cells = between[points[a][:, :, None], points[b][:, None, :]]
        distance[a, b] = distance[b, a] = dtw(cells, lengths[a], lengths[b])
    return distance


def _error(triples: np.ndarray, utterances: int, rng: np.random.Generator) -> Summary:
    """Mean over triples, contexts, speakers of X, speakers, phone pairs, one after the other; with its interval."""
    if not len(triples):
        return Summary(None, None, None, 0)
    levels = []
    keys = triples[["phone", "other", "speaker", "speaker_of_x", "context"]].tolist()
    for depth in (5, 4, 3, 2):
        names = sorted({k[:depth] for k in keys})
        index = {k: i for i, k in enumerate(names)}
        levels.append(np.array([index[k[:depth]] for k in keys]))
        keys = names
    value = _nested_mean(levels, triples["error"], np.ones(len(triples)))
    a, b, x = triples["a"], triples["b"], triples["x"]
    n = len(np.unique([a, b, x]))
    drawn = []
    for _ in range(max(LEAST, min(MOST, WEIGHED // len(triples)))):
        times = np.bincount(rng.integers(0, utterances, utterances), minlength=utterances).astype(np.float64)
        weight = times[a] * times[b] * times[x]
        if weight.any():
            drawn.append(_nested_mean(levels, triples["error"], weight))
    return summarise_drawn(value, drawn, n)


def _nested_mean(levels: list[np.ndarray], values: np.ndarray, weight: np.ndarray) -> float:
    for level in levels:
        bottom = np.bincount(level, weight)
        with np.errstate(invalid="ignore"):
            values = np.bincount(level, weight * values) / bottom
        weight = (bottom > 0).astype(np.float64)  # what no triple weighs is in no mean
        values = np.where(bottom > 0, values, 0.0)
    return float((values * weight).sum() / weight.sum())
