"""Speaker leakage: how well can the speaker be told from rebuilt audio?

On a set of several voices. The voice of a speaker is the mean embedding (`audiokd.eval.speaker`) of the speaker's utterances,
without the one that is judged. Against voices of the originals: is the voice kept? Against voices of the rebuilt audio itself:
is there anything left by which speakers can be told apart, be it changed for all alike? Rebuilt audio should keep its voice; audio
from semantic tokens alone should carry less of it. Where each speaker speaks a language of its own, part of what is told apart
may be the language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiokd.errors import AudiokdError
from audiokd.eval.table import RESAMPLES, summarise, summarise_drawn


def speaker_leakage(
    originals: Mapping[str, np.ndarray], rebuilt: Mapping[str, np.ndarray], speakers: Mapping[str, str]
) -> dict[str, Any]:
    """How near rebuilt utterances are to their own speaker's voice and to those of others.

    Args:
        originals: speaker embedding `[D]` of length 1 of each original, by utterance id.
        rebuilt: the same of the rebuilt audio; utterances that are not in both are left out.
        speakers: speaker by utterance id. A speaker with one utterance has no voice without it and is left out.

    Returns:
        speakers: how many; utterances; chance: accuracy of guessing;
        rebuilt (against voices of the originals), among_rebuilt (against voices of the rebuilt audio), original (of originals
            against their own: what can be reached): each with own and other, mean cosine with the own voice and with the
            others'; accuracy, share of utterances whose nearest voice is their own; eer, equal error rate over all pairs of
            utterance and voice (0 is told apart, 0.5 chance). As `Summary.as_dict` gives them, with a 95% bootstrap interval
            over utterances.

    Raises:
        AudiokdError: fewer than two speakers with two utterances.
    """
    ids = sorted(originals.keys() & rebuilt.keys())
    many: dict[str, list[str]] = {}
    for i in ids:
        many.setdefault(speakers[i], []).append(i)
    names = sorted(s for s, of in many.items() if len(of) > 1)
    if len(names) < 2:
        what = f"{len(names)} speakers with two utterances or more among {len(ids)} utterances: two are needed"
        raise AudiokdError(what, fix="give a set of several voices, with utt2spk")
    ids = [i for i in ids if speakers[i] in names]
    x = np.stack([originals[i] for i in ids])
    own = np.array([names.index(speakers[i]) for i in ids])
    y = np.stack([rebuilt[i] for i in ids])
    out: dict[str, Any] = {"speakers": len(names), "utterances": len(ids), "chance": 1 / len(names)}
    for name, enrolled, judged in (("rebuilt", x, y), ("among_rebuilt", y, y), ("original", x, x)):
        out[name] = _summary(_cosines(enrolled, judged, own, len(names)), own)
    return out


def equal_error_rate(own: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Where as many own voices are refused as others are taken: 0 is told apart, 0.5 is chance.

    Args:
        own: scores of pairs that belong together.
        other: scores of pairs that do not.
    """
    scores = np.concatenate([own, other])
    order = np.argsort(scores, kind="stable")
    is_own = np.concatenate([np.ones(len(own)), np.zeros(len(other))])[order]
    apart = np.concatenate([[True], np.diff(scores[order]) > 0, [True]])  # no threshold lies between equal scores
    refused = np.concatenate([[0], np.cumsum(is_own)])[apart] / len(own)  # with the threshold above the k lowest
    taken = 1 - np.concatenate([[0], np.cumsum(1 - is_own)])[apart] / len(other)
    at = int(np.abs(refused - taken).argmin())
    return float(refused[at] + taken[at]) / 2


def _cosines(enrolled: np.ndarray, judged: np.ndarray, own: np.ndarray, speakers: int) -> np.ndarray:
    """Cosine of each judged `[N, D]` with each voice `[N, S]`; its own voice is made without its own utterance."""
    one_hot = np.eye(speakers)[own]
    total = one_hot.T @ enrolled
    without = (judged * _unit(total[own] - enrolled)).sum(1, keepdims=True)
    return np.where(one_hot > 0, without, judged @ _unit(total).T)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _summary(cosine: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    n, s = cosine.shape
    mine = cosine[np.arange(n), own]
    others = cosine[np.arange(s) != own[:, None]].reshape(n, s - 1)
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, n, n) for _ in range(RESAMPLES))
    return {
        "own": summarise(mine.tolist()).as_dict(),
        "other": summarise(others.mean(1).tolist()).as_dict(),
        "accuracy": summarise((mine > others.max(1)).astype(float).tolist()).as_dict(),
        "eer": summarise_drawn(
            equal_error_rate(mine, others.ravel()), [equal_error_rate(mine[d], others[d].ravel()) for d in draws], n
        ).as_dict(),
    }
