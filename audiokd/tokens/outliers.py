"""Utterances to listen to: those whose codes say least, repeat most, stand still longest or come at another rate."""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from audiokd.tokens.repetition import ORDERS, Repetition

MIN_FRAMES = 20  # a shorter utterance has too few codes to call them poor or repetitive
MIN_SD = 2.0  # standard deviations from the mean at which one is listed
FRAMES_OFF = 2.0  # frames that padding and rounding may add or take


class Outliers:
    """Keeps the `listen` worst utterances of each reason, whatever the number of utterances. All are of codebook 0.

    Args:
        listen: how many of each reason.
        codebook_size: of codebook 0.
        frame_rate: Hz that the codes should have.
    """

    def __init__(self, listen: int, codebook_size: int, frame_rate: float):
        self._listen, self._size, self._rate = listen, codebook_size, frame_rate
        self._worst: dict[str, list[tuple[float, int, dict[str, Any]]]] = {}
        self._sums: dict[str, np.ndarray] = {}  # count, sum, sum of squares
        self._seen = 0

    def add(self, rows: list[dict[str, Any]], frames: np.ndarray, found: Repetition) -> None:
        """Look at the utterances of `rows` (of a store's index), which have `frames` [B] each."""
        seconds = np.array([r["num_samples"] / r["sample_rate"] for r in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            enough = frames >= MIN_FRAMES
            spread = found.entropy / np.log2(np.minimum(frames, self._size))
            last = len(ORDERS) - 1
            repeats = found.repeated[:, last] / found.ngrams[:, last]
            off = np.abs(np.log(frames / (seconds * self._rate)))
        wrong = np.abs(frames - seconds * self._rate) > FRAMES_OFF
        self._keep("entropy", -spread, spread, enough & np.isfinite(spread), rows, frames, seconds)
        self._keep("repetition", repeats, repeats, enough, rows, frames, seconds)
        runs = found.longest_run.astype(float)
        self._keep("longest_run", runs, runs, enough, rows, frames, seconds)
        self._keep("token_rate", off, frames / np.maximum(seconds, 1e-9), wrong, rows, frames, seconds)
        self._seen += len(rows)

    def _keep(
        self,
        reason: str,
        score: np.ndarray,
        value: np.ndarray,
        of: np.ndarray,
        rows: list[dict[str, Any]],
        frames: np.ndarray,
        seconds: np.ndarray,
    ) -> None:
        """Put the utterances `of` with the highest scores on the list of `reason`."""
        sums = self._sums.setdefault(reason, np.zeros(3))
        sums += [of.sum(), value[of].sum(), (value[of] ** 2).sum()]
        worst = self._worst.setdefault(reason, [])
        places = np.flatnonzero(of)
        for i in places[np.argsort(-score[places], kind="stable")][: self._listen]:
            row = {"id": rows[i]["id"], "speaker": rows[i].get("speaker"), "seconds": float(seconds[i])}
            entry = (
                float(score[i]),
                -(self._seen + int(i)),
                row | {"frames": int(frames[i]), "value": float(value[i])},
            )
            (heapq.heappush if len(worst) < self._listen else heapq.heappushpop)(worst, entry)

    def result(self) -> list[dict[str, Any]]:
        """A dict an outlier, the worst of each reason first: id, speaker, seconds, frames, reason, value, mean, sd, why.

        mean and sd are over all utterances that were looked at for the reason; for token_rate the mean is the frame rate.
        """
        found = []
        for reason, worst in self._worst.items():
            n, total, squares = self._sums[reason]
            mean = total / n if n else 0.0
            sd = math.sqrt(max(0.0, squares / n - mean**2)) if n else 0.0
            for _, _, row in sorted(worst, reverse=True):
                off = abs(row["value"] - mean) / sd if sd > 1e-9 else 0.0
                if reason == "token_rate":
                    found.append(row | {"reason": reason, "mean": self._rate, "sd": None, "why": self._odd_rate(row)})
                elif off >= MIN_SD:
                    why = f"{self._why(reason, row, mean)}: {off:.1f} standard deviations away"
                    found.append(row | {"reason": reason, "mean": mean, "sd": sd, "why": why})
        return found

    def _odd_rate(self, row: dict[str, Any]) -> str:
        if not row["frames"]:
            return f"no code at all in {row['seconds']:.2f} s"
        return f"{row['value']:.4g} codes a second in place of {self._rate:.4g}"

    def _why(self, reason: str, row: dict[str, Any], mean: float) -> str:
        if reason == "entropy":
            most = math.log2(min(row["frames"], self._size))
            return f"{row['value'] * most:.2f} bits a code of the {most:.2f} it could have, {mean:.0%} are usual"
        if reason == "repetition":
            return f"{row['value']:.0%} of its {ORDERS[-1]}-grams stood in it before, {mean:.0%} are usual"
        return f"one code for {row['value'] / self._rate:.2f} s, {mean / self._rate:.2f} s are usual"
