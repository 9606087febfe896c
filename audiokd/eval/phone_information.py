r"""Phone information: how much of what is said do the tokens hold, counted on a 10 ms grid?

Each point of the grid has the phone and the code (or the tuple of codes of several streams) that cover it; with p their
joint frequencies over all points of all utterances,

.. math:: \mathrm{PNMI} = I(\text{phone}; \text{code}) / H(\text{phone})

.. math:: \text{phone purity} = \sum_{c} \max_{y} p(y, c) \qquad \text{code purity} = \sum_{y} \max_{c} p(y, c)

Source: HuBERT, Hsu et al. 2021, https://arxiv.org/abs/2106.07447 (its analysis of cluster quality). PNMI and phone purity
rise with the number of codes: compare codebooks of one size. With few utterances they also rise by chance, the more so the
more codes there are a second; `pnmi_floor` is what shuffled codes reach, and `pnmi_over_chance` counts from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiokd.data.ctm import Phone
from audiokd.errors import AudiokdError
from audiokd.eval.grid import STEP_S, centres, frame_of, phone_of
from audiokd.eval.table import RESAMPLES, Summary, summarise_drawn

SHUFFLES = 5
BLOCK = 50  # resamples held at once


def phone_information(
    phones: Mapping[str, Sequence[Phone]], codes: Mapping[str, np.ndarray], frame_rate: float, seed: int = 0
) -> dict[str, Any]:
    """PNMI, phone purity and code purity of tokens. All from 0 to 1, higher is better.

    Args:
        phones: phone times by utterance id; silence counts as a phone, as in HuBERT.
        codes: by utterance id, `[T']` of one stream or `[Q, T']` of several, which then count as one tuple.
        frame_rate: of the codes, Hz.
        seed: of the bootstrap and of the shuffles.

    Returns:
        pnmi, phone_purity, code_purity: each as `Summary.as_dict` gives it, with a 95% bootstrap interval over utterances.
            The interval is the spread of the resampled values set around the value: resampled sets repeat utterances, and
            that alone raises these measures.
        pnmi_floor: mean PNMI with the token frames shuffled among all utterances (5 times).
        pnmi_over_chance: (pnmi - floor) / (1 - floor).
        phone_entropy_bits, mutual_information_bits: a point of the grid.
        points: points of the grid that have both; frames: tokens under them; codes: different ones among them.
        phones: different phones; utterances: with both.

    Raises:
        AudiokdError: no utterance has both, or there is one phone only.
    """
    ids = sorted(phones.keys() & codes.keys())
    grids = [_grid(phones[i], _columns(codes[i]), frame_rate) for i in ids]
    kept = [(y, f, _columns(codes[i])) for i, (y, f) in zip(ids, grids) if f.size]
    if not kept:
        what = f"none of {len(codes)} utterances with codes and {len(phones)} with phones has both"
        raise AudiokdError(what, fix="give the phones of the utterances that were tokenized: the ids must be the same")
    names, y = np.unique(np.concatenate([labels for labels, _, _ in kept]), return_inverse=True)
    if len(names) < 2:
        raise AudiokdError(f"all is {names[0]}: one phone holds no information", fix="look at the phone times")
    starts = np.cumsum([0, *(c.shape[0] for _, _, c in kept)])
    frames = np.concatenate([f + s for (_, f, _), s in zip(kept, starts)])  # the token under each point
    _, z = np.unique(np.concatenate([c for _, _, c in kept]), axis=0, return_inverse=True)
    z = z.reshape(-1)
    owner = np.repeat(np.arange(len(kept)), [f.size for _, f, _ in kept])
    rng = np.random.default_rng(seed)
    value = _measures(*_cells(y, z[frames]))
    floor = float(np.mean([_measures(*_cells(y, rng.permutation(z)[frames]))["pnmi"] for _ in range(SHUFFLES)]))
    out = _intervals(y, z[frames], owner, value, rng)
    return {
        **out,
        "pnmi_floor": floor,
        "pnmi_over_chance": (value["pnmi"] - floor) / (1 - floor) if floor < 1 else None,
        "phone_entropy_bits": value["phone_entropy_bits"],
        "mutual_information_bits": value["pnmi"] * value["phone_entropy_bits"],
        "points": int(y.size),
        "step_s": STEP_S,
        "frames": int(np.unique(frames).size),
        "codes": int(np.unique(z[frames]).size),
        "phones": len(names),
        "utterances": len(kept),
    }


def _columns(codes: np.ndarray) -> np.ndarray:
    """`[T']` or `[Q, T']` as `[T', Q]`."""
    return np.atleast_2d(codes).T


def _grid(phones: Sequence[Phone], codes: np.ndarray, frame_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Phone `[K]` and frame `[K]` of every point that has both."""
    points = len(centres(0.0, codes.shape[0] / frame_rate))
    frames = frame_of(np.arange(points), frame_rate)
    labels = phone_of(phones, points)
    has = np.array([p is not None for p in labels], dtype=bool) & (frames < codes.shape[0])
    return np.array([p or "" for p in labels])[has], frames[has]


def _cells(y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs that occur: phone `[C]`, code `[C]` and how often, `[1, C]`."""
    cells, counts = np.unique(y * (z.max() + 1) + z, return_counts=True)
    return cells // (z.max() + 1), cells % (z.max() + 1), counts[None].astype(np.float64)


def _measures(y: np.ndarray, z: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    return {k: float(v[0]) for k, v in _each(y, z, counts).items()}


def _each(y: np.ndarray, z: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The measures `[R]` of R tables of counts `[R, C]` over the same cells."""
    total = counts.sum(1)
    by_phone, by_code = np.argsort(y, kind="stable"), np.argsort(z, kind="stable")
    phone_starts, code_starts = (np.flatnonzero(np.diff(a[o], prepend=-1)) for a, o in ((y, by_phone), (z, by_code)))
    phone, code = counts[:, by_phone], counts[:, by_code]
    h_phone = _entropy(np.add.reduceat(phone, phone_starts, 1), total)
    h_code = _entropy(np.add.reduceat(code, code_starts, 1), total)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw with one phone only has no PNMI
        pnmi = (h_phone + h_code - _entropy(counts, total)) / h_phone
    return {
        "pnmi": pnmi,
        "phone_purity": np.maximum.reduceat(code, code_starts, 1).sum(1) / total,
        "code_purity": np.maximum.reduceat(phone, phone_starts, 1).sum(1) / total,
        "phone_entropy_bits": h_phone,
    }


def _entropy(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Bits, of counts `[R, C]` with sums `total [R]`."""
    logs = np.log2(counts, out=np.zeros_like(counts), where=counts > 0)
    return np.log2(total) - (counts * logs).sum(1) / total


def _intervals(
    y: np.ndarray, z: np.ndarray, owner: np.ndarray, value: dict[str, float], rng: np.random.Generator
) -> dict[str, dict[str, float | int | None]]:
    names, n = ("pnmi", "phone_purity", "code_purity"), int(owner.max()) + 1
    if n < 2:
        return {k: Summary(value[k], None, None, n).as_dict() for k in names}
    from scipy.sparse import csr_matrix

    width = int(z.max()) + 1
    cells, cell = np.unique(y * width + z, return_inverse=True)
    table = csr_matrix((np.ones(y.size), (owner, cell)), shape=(n, cells.size))  # counts [utterances, cells]
    drawn: dict[str, list[np.ndarray]] = {k: [] for k in names}
    for _ in range(0, RESAMPLES, BLOCK):
        times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(BLOCK)])
        each = _each(cells // width, cells % width, np.asarray(times @ table))
        for k in names:
            drawn[k].append(each[k])
    return {k: summarise_drawn(value[k], np.concatenate(drawn[k]), n).as_dict() for k in names}
