r"""ABX: of two triphones that differ in their middle phone, is a third one nearer to the one that it equals?

A and X are two tokens of one triphone (say b-a-g), B is one of another with the same neighbours (b-o-g). The error is

.. math:: P(d(A, X) > d(B, X)) + P(d(A, X) = d(B, X)) / 2

0 is perfect, 0.5 is chance. d is the mean distance along the cheapest DTW path on a 10 ms grid (frames repeated): the angle
between feature vectors over pi, or 0 and 1 for equal and other codes. The error is averaged over the contexts (neighbours) of
a phone pair, then over speakers, then over ordered phone pairs. Within: one speaker says all three; across: another says X.
Without context the items are single labels, whatever stands beside them: phones, or words where the phones.ctm holds words.

Source: Schatz et al. 2013, "Evaluating speech features with the minimal-pair ABX task" (Interspeech), as ZeroSpeech and
Libri-Light (Kahn et al. 2020, https://arxiv.org/abs/1912.07875) use it; without context as Hallap et al. 2023, "Evaluating
context-invariance in unsupervised speech representations" (https://arxiv.org/abs/2210.15775) argue for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
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
ITEMS = 2000  # whose frames are compared at once: what bounds the memory
MOST, LEAST, WEIGHED = 1000, 100, 50_000_000  # draws of the bootstrap: as many as weigh this many triples together
TRIPLE = [(k, "i4") for k in ("phone", "other", "speaker", "speaker_of_x", "context", "a", "b", "x")] + [
    ("error", "f4")
]


Block = tuple[tuple[int, int, int, int, int], np.ndarray, np.ndarray]  # names of a TRIPLE; items that are A and B


class Item(NamedTuple):
    """A triphone or a single label as it was said once: names as numbers, and the frame of each of its grid points `[K]`."""

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
    context: Literal["triphone", "any"] = "triphone",
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
        silence: phones that take part in no item.
        context: "triphone": items are triphones, those of a triple have the same neighbours; "any": items are single labels.

    Returns:
        error: as `Summary.as_dict` gives it: mean (None where there is no triple), a 95% bootstrap interval over
            utterances (a triple weighs as often as its three utterances are drawn), and n utterances in triples.
        triples, pairs (ordered, of phones), speakers: that took part; mode, context, distance, max_items, max_speakers, seed.

    Raises:
        AudiokdError: no utterance has both phones and a representation.
    """
    ids = sorted(phones.keys() & representations.keys())
    if not ids:
        what = f"none of {len(representations)} utterances and {len(phones)} with phones has both"
        raise AudiokdError(what, fix="give the phones of the utterances that were tokenized: the ids must be the same")
    coded = representations[ids[0]].ndim == 1
    table = np.concatenate([representations[i] if coded else _unit(representations[i]) for i in ids])
    contexts = _contexts(ids, phones, representations, frame_rate, speakers, silence, context)
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
        "context": context,
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
    context: str,
) -> dict[tuple[str, ...], list[Item]]:
    """Items by their neighbours, if those count; their frames count over all utterances."""
    of = [speakers.get(i, i) if speakers is not None else "" for i in ids]
    speaker = {name: n for n, name in enumerate(sorted(set(of)))}
    label = {name: n for n, name in enumerate(sorted({p.label for i in ids for p in phones[i]}))}
    contexts: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    start = 0
    for n, utt in enumerate(ids):
        size = len(representations[utt])
        for neighbours, middle, start_s, end_s in _spans(phones[utt], set(silence), context):
            frames = frame_of(centres(start_s, end_s), frame_rate)
            frames = frames[frames < size]
            if frames.size:
                contexts[neighbours].append(Item(n, speaker[of[n]], label[middle], frames + start))
        start += size
    return contexts


def _spans(
    phones: Sequence[Phone], silence: set[str], context: str
) -> Iterator[tuple[tuple[str, ...], str, float, float]]:
    """Each item of an utterance: its neighbours, its label, its start and end in seconds."""
    if context == "any":
        yield from (((), p.label, p.start_s, p.end_s) for p in phones if p.label not in silence)
        return
    for left, middle, right in zip(phones, phones[1:], phones[2:]):
        joined = middle.start_s - left.end_s < JOINED_S and right.start_s - middle.end_s < JOINED_S
        if joined and not {left.label, middle.label, right.label} & silence:
            yield (left.label, right.label), middle.label, left.start_s, right.end_s


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
    utt = np.array([item.utt for item in items])
    out = []
    for some in _batches(blocks, drawn):
        between = _Distances(items, [(np.r_[a, b], drawn[names[0], names[3]]) for names, a, b in some], table)
        for names, a, b in some:
            a, b, x = (m.reshape(-1) for m in np.meshgrid(a, b, drawn[names[0], names[3]], indexing="ij"))
            a, b, x = a[a != x], b[a != x], x[a != x]
            further = between(a, x) - between(b, x)
            triples = np.zeros(a.size, TRIPLE)
            for (column, _), value in zip(TRIPLE, (*names, utt[a], utt[b], utt[x])):
                triples[column] = value
            triples["error"] = np.where(np.abs(further) < SAME, 0.5, further > 0)
            out.append(triples)
    return np.concatenate(out)


def _batches(blocks: list[Block], drawn: Mapping[tuple[int, int], np.ndarray]) -> Iterator[list[Block]]:
    """Blocks of triples, so many at a time that no more than about ITEMS items take part."""
    some: list[Block] = []
    items: set[int] = set()
    for names, a, b in blocks:
        new = {*a.tolist(), *b.tolist(), *drawn[names[0], names[3]].tolist()}
        if some and len(items | new) > ITEMS:
            yield some
            some, items = [], set()
        some.append((names, a, b))
        items |= new
    yield some


def _draw(values: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return values if len(values) <= most else np.sort(rng.choice(values, most, replace=False))


class _Distances:
    """Distances of pairs of items: of every one of A to every one of X, for each `(A, X)` of `needed`."""

    def __init__(self, items: list[Item], needed: list[tuple[np.ndarray, np.ndarray]], table: np.ndarray) -> None:
        self.size = len(items)
        keys = [self._key(*np.meshgrid(a, x)) for a, x in needed]
        self.keys = np.unique(np.concatenate([k.reshape(-1) for k in keys]))
        pairs = np.stack(np.divmod(self.keys, self.size), 1)
        kept, place = np.unique(pairs, return_inverse=True)
        self.values = _align([items[i] for i in kept], place.reshape(-1, 2), table)

    def _key(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.minimum(a, b) * self.size + np.maximum(a, b)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.values[np.searchsorted(self.keys, self._key(a, b))]


def _align(items: list[Item], pairs: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Distances `[P]` of the `pairs` `[P, 2]` of items."""
    rows, place = np.unique(np.concatenate([item.frames for item in items]), return_inverse=True)
    lengths = np.array([item.frames.size for item in items])
    points = np.zeros((len(items), int(lengths.max())), dtype=np.int64)  # row of each grid point, padded with any
    points[np.arange(points.shape[1]) < lengths[:, None]] = place
    x = table[rows]
    if x.ndim == 1:
        between = (x[:, None] != x[None]).astype(np.float64)
    else:
        between = np.arccos(np.clip(x @ x.T, -1, 1)) / np.pi
    found = []
    for some in np.array_split(pairs, -(-len(pairs) // PAIRS)):
        a, b = some.T
        cells = between[points[a][:, :, None], points[b][:, None, :]]
        found.append(dtw(cells, lengths[a], lengths[b]))
    return np.concatenate(found)


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
