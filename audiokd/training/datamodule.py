"""Batches to a trainer: every Trainer epoch is the stretch from the module's own step to its next validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from audiokd.data.crops import CropDataset, GroupedStepSampler, StepSampler, collate
from audiokd.data.error_log import ErrorLog
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.training.settings import CropSettings, RunSettings


class StepDataModule(L.LightningDataModule):
    """Datasets whose items are a pure function of (step, index), so that a run can begin at any step.

    Args:
        train_set: indexed by (step, index).
        dev_set: indexed by what `val_keys` gives.
        collate: makes a batch of a list of items.
        settings: has `batch_size` and `num_workers`.
        run: configuration.
    """

    def __init__(
        self, train_set: Any, dev_set: Any, collate: Callable[[list[Any]], Any], settings: Any, run: RunSettings
    ):
        super().__init__()
        self.train_set, self.dev_set, self.collate = train_set, dev_set, collate
        self.settings, self.run = settings, run
        self.weights: np.ndarray | None = None
        self.groups: Sequence[Sequence[int]] = ()

    def val_keys(self, rank: int, world_size: int) -> list[tuple[Any, int]]:
        """Keys of the validation items of one process."""
        return [(0, i) for i in range(rank, len(self.dev_set), world_size)]

    def steps(self, start: int, stop: int) -> DataLoader:
        """The training batches of steps `start` to `stop` - 1 of this process, whichever have been taken already."""
        t = self.trainer
        assert t is not None
        how = (self.settings.batch_size, start, stop, self.run.seed, t.global_rank, t.world_size)
        if self.groups:
            return self._loader(self.train_set, GroupedStepSampler(self.groups, *how))
        return self._loader(self.train_set, StepSampler(len(self.train_set), *how, self.weights))

    def train_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        start = self.trainer.lightning_module.iteration
        return self.steps(start, min((start // self.run.val_every + 1) * self.run.val_every, self.run.max_steps))

    def val_dataloader(self) -> DataLoader:
        """The validation batches of this process.

        Raises:
            AudiokdError: fewer items than processes.
        """
        assert self.trainer is not None
        count = self.trainer.world_size
        if count > 1 and not all(self.val_keys(rank, count) for rank in range(count)):  # Lightning takes none without
            what = f"{len(self.dev_set)} validation items for {count} processes"
            raise AudiokdError(what, fix="more of them, or fewer --run.devices: each process validates on one at least")
        mine, size = self.val_keys(self.trainer.global_rank, count), self.settings.batch_size
        return self._loader(self.dev_set, [mine[k : k + size] for k in range(0, len(mine), size)])

    def _loader(self, dataset: Any, batches: Any) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.collate,
            num_workers=self.settings.num_workers,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )


class CropDataModule(StepDataModule):
    """Random crops to train on, the first seconds of each utterance to validate on.

    Args:
        train, dev: utterances.
        sample_rate: Hz that the model takes.
        settings, run: configuration.
        folder: of the run, whose errors.jsonl names the utterances that cannot be read.
        crops: independent crops of an utterance and step.
        hop_s: crops begin at multiples of so many seconds; 0 lets them begin anywhere.
        weights: probability of each training utterance, drawn with replacement; each once an epoch if left out.
    """

    def __init__(
        self,
        train: list[Utterance],
        dev: list[Utterance],
        sample_rate: int,
        settings: CropSettings,
        run: RunSettings,
        folder: Path,
        crops: int = 1,
        hop_s: float = 0.0,
        weights: np.ndarray | None = None,
    ):
        train_set = CropDataset(
            train, sample_rate, settings.crop_s, run.seed, crops, hop_s, errors=ErrorLog(folder, "train")
        )
        dev = dev[: settings.val_utterances]
        dev_set = CropDataset(dev, sample_rate, settings.val_crop_s, None, crops, errors=ErrorLog(folder, "dev"))
        super().__init__(train_set, dev_set, collate, settings, run)
        self.weights = weights
