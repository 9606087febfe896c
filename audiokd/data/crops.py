"""Training batches of random crops, each a pure function of (seed, step, utterance): exact resume needs no other state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from audiokd.data.audio import load_crop
from audiokd.data.error_log import ErrorLog
from audiokd.data.replacing import ReplacingDataset
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


def rng_of(*key: object) -> np.random.Generator:
    """A random generator that depends on `key` alone, not on the process, the platform or the order of calls."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


class StepSampler:
    """Batches of (step, index) pairs for the steps `start..stop-1` of one rank.

    Position p = step * global batch + slot walks through a fresh permutation of the corpus each epoch; with weights through as many
    draws with replacement.

    Args:
        size: utterances in the corpus.
        batch_size: utterances a rank and step.
        start, stop: steps.
        seed: of the permutations.
        rank, world_size: which slots of the global batch are ours.
        weights: probability [size] of each utterance; each once an epoch if left out.

    Raises:
        AudiokdError: the corpus is empty.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        start: int,
        stop: int,
        seed: int | str,
        rank: int = 0,
        world_size: int = 1,
        weights: np.ndarray | None = None,
    ):
        if size < 1:
            raise AudiokdError("there is nothing to train on", fix="give an INPUT with utterances")
        self.size, self.batch_size, self.start, self.stop = size, batch_size, start, stop
        self.seed, self.rank, self.world_size, self.weights = seed, rank, world_size, weights

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.zeros(0, dtype=np.int64)
        for step in range(self.start, self.stop):
            first = (step * self.world_size + self.rank) * self.batch_size
            batch = []
            for p in range(first, first + self.batch_size):
                if p // self.size != epoch:
                    epoch = p // self.size
                    order = self._order(rng_of(self.seed, "epoch", epoch))
                batch.append((step, int(order[p % self.size])))
            yield batch

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        if self.weights is None:
            return rng.permutation(self.size)
        return rng.choice(self.size, self.size, p=self.weights)


class GroupedStepSampler:
    """Batches of (step, index) pairs as `StepSampler` gives them, with `batch_size` items of every group in each, group by group.

    Each group is walked through by itself, a permutation of it each epoch of its own: a small one comes round more often, as
    DomainBed's (github.com/facebookresearch/DomainBed) infinite loaders of its domains do.

    Args:
        groups: indices of the items of each.
        batch_size: items of a group, a rank and step.
        start, stop, seed, rank, world_size: as of `StepSampler`.

    Raises:
        AudiokdError: no group, or an empty one.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        batch_size: int,
        start: int,
        stop: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        if not groups:
            raise AudiokdError("there is nothing to train on")
        self.groups = groups
        self.samplers = [
            StepSampler(len(g), batch_size, start, stop, f"{seed} group {k}", rank, world_size)
            for k, g in enumerate(groups)
        ]

    def __len__(self) -> int:
        return len(self.samplers[0])

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for parts in zip(*self.samplers):
            yield [(step, self.groups[k][i]) for k, part in enumerate(parts) for step, i in part]


class CropDataset(ReplacingDataset):
    """Crops of utterances, indexed by (step, index).

    Args:
        utterances: the corpus.
        sample_rate: Hz of the crops.
        crop_s: seconds of a crop; a shorter utterance is padded with zeros on the right.
        seed: of the crop positions; None is validation: every crop from the start.
        crops: of each utterance, drawn independently of one another.
        hop_s: crops begin at multiples of so many seconds; 0 lets them begin anywhere.
        errors: where unreadable utterances are written down; without it stderr alone names them.
    """

    def __init__(
        self,
        utterances: list[Utterance],
        sample_rate: int,
        crop_s: float,
        seed: int | None,
        crops: int = 1,
        hop_s: float = 0.0,
        errors: ErrorLog | None = None,
    ):
        super().__init__(utterances, seed is not None, errors)
        self.utterances, self.sample_rate, self.crop_s, self.seed = utterances, sample_rate, crop_s, seed
        self.crops, self.hop_s = crops, hop_s

    def read(self, utt: Utterance, step: int) -> dict[str, object]:
        """`wav` float32 [crop] ([crops, crop] if several), `length` samples that are not padding, `start_s` of the (last) crop
        in its utterance, `id`."""
        size = round(self.crop_s * self.sample_rate)
        duration = utt.duration_s if utt.duration_s is not None else duration_of(utt)
        wavs, start = [], 0.0
        for k in range(self.crops):
            if self.seed is not None and duration > self.crop_s:
                key = (step, utt.id, k) if k else (step, utt.id)
                start = float(rng_of(self.seed, "crop", *key).uniform(0, duration - self.crop_s))
                start = start // self.hop_s * self.hop_s if self.hop_s else start
            wavs.append(load_crop(utt, self.sample_rate, start, self.crop_s))
        length = min(size, max(1, round((duration - start) * self.sample_rate)))
        wav = np.stack(wavs) if self.crops > 1 else wavs[0]
        return {"wav": wav, "length": length, "start_s": start, "id": utt.id}


def duration_of(utt: Utterance) -> float:
    """Seconds of an utterance, from the file's header where the utterance does not say."""
    from audiokd.data.audio import info

    i = info(utt)
    return i.num_samples / i.sample_rate


def collate(items: list[dict[str, object] | None]) -> dict[str, object]:
    """`wav` [B, T] ([B, crops, T] if several) and `lengths` [B] tensors, `starts_s`, `ids`, of the items that are there."""
    import torch

    found = [i for i in items if i is not None]
    wavs = [np.asarray(i["wav"]) for i in found]
    return {
        "wav": torch.from_numpy(np.stack(wavs) if wavs else np.zeros((0, 0), np.float32)),
        "lengths": torch.tensor([i["length"] for i in found]),
        "starts_s": [i["start_s"] for i in found],
        "ids": [i["id"] for i in found],
    }
