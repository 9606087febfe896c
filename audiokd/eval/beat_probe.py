"""Beat tracking with frozen features: a probe says of each frame whether a beat is there, a hidden Markov model which ones are.

As MARBLE's task on GTZAN (arXiv 2306.10548), whose decoder is madmom's. The F-measure is mir_eval's: 70 ms of tolerance, and what
lies before 5 s does not count, as in `mir_eval.beat.evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.eval.beat_tracker import BeatTracker
from audiokd.eval.layer_columns import layer_columns
from audiokd.eval.mlp import train_mlp
from audiokd.eval.mlp_probe import MLPProbeResult
from audiokd.eval.table import summarise

#: of a frame beside a beat's: notes and the marks of who heard them are some hundredths of a second apart
BESIDE = 0.5


@dataclass
class BeatSet:
    """Recordings of a split.

    Attributes:
        frames: [T', L D] of each, which may lie on disk.
        beats: seconds [N] of each.
    """

    frames: Sequence[np.ndarray]
    beats: Sequence[np.ndarray]


def beat_f1(reference: np.ndarray, estimate: np.ndarray) -> float | None:
    """F-measure of beats [N] and [M] in seconds; None where nothing is to be found after 5 s."""
    try:
        import mir_eval.beat
    except ImportError as e:
        raise AudiokdError(
            "beats are scored by mir_eval, which is not there", fix="pip install 'audiokd[music]'"
        ) from e

    late, found = mir_eval.beat.trim_beats(reference), mir_eval.beat.trim_beats(estimate)
    if not len(late):
        return None
    return float(mir_eval.beat.f_measure(late, found)) if len(found) else 0.0


def beat_targets(beats: np.ndarray, frames: int, frame_rate: float) -> np.ndarray:
    """What is said of each of `frames`, [T'] float32: 1 where a beat is, a half beside it."""
    y = np.zeros(frames + 2, dtype=np.float32)  # a frame more at each end
    at = np.floor(np.asarray(beats) * frame_rate + 1e-6).astype(int) + 1
    at = at[at <= frames]
    y[at - 1] = BESIDE
    y[at + 1] = np.maximum(y[at + 1], BESIDE)
    y[at] = 1.0
    return y[1:-1]


def beat_probe(
    train: BeatSet,
    dev: BeatSet,
    test: BeatSet,
    frame_rate: float,
    layers: int = 1,
    lr: float = 1e-3,
    batch_size: int = 256,
    epochs: int = 100,
    seed: int = 0,
    device: str = "cpu",
) -> MLPProbeResult:
    """Train a probe a layer, and score the one whose beats are best on `dev` on `test`.

    Args:
        train, dev, test: features and beats.
        frame_rate: frames a second.
        layers: that the features are of; one of them at a time is held in memory.
        lr: Adam's first rate.
        batch_size: frames a step.
        epochs: at most; the one whose frames are best on `dev` is kept.
        seed: of the first weights, dropout and the order.
        device: where it is trained.

    Raises:
        AudiokdError: too few frames a second, features that do not split into layers or are not finite, or no beat to be found.
    """
    tracker = BeatTracker(frame_rate)
    if not any(len(b) for b in train.beats):
        raise AudiokdError("no training recording has a beat")
    best: tuple[float, int, list[float | None], int] | None = None
    scores = []
    for k in range(layers):
        x, y = _rows(train, frame_rate, k, layers, device)
        x_dev, y_dev = _rows(dev, frame_rate, k, layers, device)
        mlp = train_mlp(
            x, y, x_dev, y_dev, 1, _loss, lambda out, of: -float(_loss(out, of)), lr, batch_size, epochs, seed
        )
        del x, y, x_dev, y_dev

        def found(of: BeatSet, k: int = k, mlp=mlp) -> list[float | None]:
            said = (
                mlp(torch.from_numpy(layer_columns(f, k, layers)).to(device)).sigmoid()[:, 0].cpu().numpy()
                for f in of.frames
            )
            # some annotations go on after the sound has ended
            return [beat_f1(b[b * frame_rate < len(s)], tracker(s)) for b, s in zip(of.beats, said)]

        known = [f for f in found(dev) if f is not None]
        if not known:
            raise AudiokdError("no dev recording has a beat after 5 s")
        scores.append(float(np.mean(known)))
        if best is None or scores[-1] > best[0]:
            best = scores[-1], k, found(test), mlp.epochs
    assert best is not None
    _, k, on_test, used = best
    return MLPProbeResult("beat F1", k + 1, scores, summarise(on_test), {}, used)


def _loss(out: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(out[:, 0], y)


def _rows(of: BeatSet, frame_rate: float, k: int, layers: int, device: str) -> tuple[Tensor, Tensor]:
    """All frames [N, D] of a layer, and what is to be said of them [N]."""
    x = torch.cat([torch.from_numpy(layer_columns(f, k, layers)).to(device) for f in of.frames])
    y = np.concatenate([beat_targets(b, len(f), frame_rate) for f, b in zip(of.frames, of.beats)])
    return x, torch.from_numpy(y).to(device)
