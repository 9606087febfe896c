"""Beats from what a network says of each frame, by a hidden Markov model of tempo and place within the beat.

The same beats as madmom's DBNBeatTrackingProcessor finds, but for its half frame: here a frame stands for its middle.

Source: Krebs, Böck, Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR 2015 (states and tempo
changes); Böck, Krebs, Widmer, "A multi-model approach to beat tracking", ISMIR 2014 (what a frame says), with madmom's values.
"""

from __future__ import annotations

import numpy as np

from audiokd.errors import AudiokdError

#: how much less likely a tempo is, the further it is from the last beat's
CHANGE = 100.0
#: a beat's first 1 / PARTS are the beat, the rest is between beats
PARTS = 16
#: below which a network's word is no word: keeps logarithms finite
LEAST = 1e-8


class BeatTracker:
    """The likeliest beats, frame by frame of `frame_rate` a second.

    A state is a tempo (frames a beat) and a frame of that beat; each leads to the next one, a beat's last frame to the first one of
    any tempo, by exp(-100 |ratio of their lengths - 1|).

    Args:
        frame_rate: frames a second.
        slowest, fastest: beats a minute.
    """

    def __init__(self, frame_rate: float, slowest: float = 55.0, fastest: float = 215.0):
        shortest, longest = round(60 * frame_rate / fastest), round(60 * frame_rate / slowest)
        if shortest < 2:
            what = f"{frame_rate:g} frames a second are too few for {fastest:g} beats a minute"
            raise AudiokdError(what, fix=f"features of at least {fastest / 30:g} frames a second")
        self.frame_rate = frame_rate
        self.lengths = np.arange(shortest, longest + 1)
        self.last = np.cumsum(self.lengths) - 1
        self.first = self.last - self.lengths + 1
        ratio = self.lengths[None] / self.lengths[:, None]
        change = np.exp(-CHANGE * np.abs(ratio - 1))
        #: log-probability [from, to]
        self.change = np.log(change / change.sum(1, keepdims=True))
        within = np.concatenate([np.arange(n) / n for n in self.lengths])
        self.is_beat = within < 1 / PARTS

    def __call__(self, activation: np.ndarray) -> np.ndarray:
        """Seconds of beats, the middle of their frames: where the network's word is strongest in each beat's first part.

        Args:
            activation: [T], a probability of a beat in each frame.
        """
        said = np.clip(np.asarray(activation, dtype=np.float64), LEAST, 1 - LEAST)
        if len(said) < 2 or not np.any(np.asarray(activation) > LEAST):
            return np.zeros(0)
        path = self._path(said)
        on = self.is_beat[path]
        starts = np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))
        ends = np.flatnonzero(on & ~np.concatenate([on[1:], [False]])) + 1
        frames = [s + int(said[s:e].argmax()) for s, e in zip(starts, ends)]
        return (np.array(frames) + 0.5) / self.frame_rate

    def _path(self, said: np.ndarray) -> np.ndarray:
        """The likeliest state of each frame [T] (Viterbi)."""
        beat, between = np.log(said), np.log((1 - said) / (PARTS - 1))
        score = np.where(self.is_beat, beat[0], between[0])
        before = np.empty((len(said), len(self.lengths)), dtype=np.int32)
        tempi = np.arange(len(self.lengths))
        for t in range(1, len(said)):
            ways = score[self.last, None] + self.change
            before[t] = ways.argmax(0)
            score[1:] = score[:-1]
            score[self.first] = ways[before[t], tempi]
            score += np.where(self.is_beat, beat[t], between[t])
        path = np.empty(len(said), dtype=np.int64)
        state = int(score.argmax())
        tempo = int(np.searchsorted(self.last, state))
        for t in range(len(said) - 1, -1, -1):
            path[t] = state
            if state == self.first[tempo] and t:
                tempo = int(before[t, tempo])
                state = int(self.last[tempo])
            else:
                state -= 1
        return path
