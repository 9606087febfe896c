"""Batches of strongly, weakly and unlabelled crops, and what their labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiokd.data.crops import CropDataset, collate
from audiokd.data.error_log import ErrorLog
from audiokd.data.events import Event
from audiokd.data.frame_events import frame_targets
from audiokd.data.parts import PartDataset, PartSampler
from audiokd.data.utterance import Utterance
from audiokd.methods.detector.settings import EventCropSettings
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import RunSettings


@dataclass(frozen=True)
class EventLabels:
    """Labels by utterance id; an utterance in neither table has none.

    Attributes:
        names: of the labels, in the order of the logits.
        frame_rate: frames a second.
        strong: events.
        weak: names.
    """

    names: Sequence[str]
    frame_rate: float
    strong: Mapping[str, Sequence[Event]]
    weak: Mapping[str, Sequence[str]]

    def frames(self, ids: Sequence[str], starts_s: Sequence[float], frames: int) -> Tensor:
        """[B, frames, C] of 0 and 1 of crops that begin `starts_s` into their utterances, on the grid; zeros where none are
        known."""
        number = {n: k for k, n in enumerate(self.names)}
        firsts = [round(s * self.frame_rate) for s in starts_s]
        rows = [
            frame_targets(self.strong.get(i, ()), number, self.frame_rate, first, frames)
            for i, first in zip(ids, firsts)
        ]
        return torch.stack([torch.from_numpy(r) for r in rows])

    def clips(self, ids: Sequence[str]) -> Tensor:
        """[B, C] of 0 and 1; zeros where none are known."""
        return torch.tensor([[float(n in self.weak.get(i, ())) for n in self.names] for i in ids])

    def are_strong(self, ids: Sequence[str]) -> Tensor:
        """Bool [B], which have events."""
        return torch.tensor([i in self.strong for i in ids])

    def are_weak(self, ids: Sequence[str]) -> Tensor:
        """Bool [B], which have labels of the whole clip and no events."""
        return torch.tensor([i in self.weak and i not in self.strong for i in ids])


class EventDataModule(StepDataModule):
    """Batches of so many crops of each part to train on; crops begin at a frame, so that labels and stored logits fit.

    Args:
        parts: training utterances, with how many of them a batch has; strongly labelled ones first.
        dev: strongly labelled utterances.
        sample_rate: Hz that the model takes.
        frame_s: seconds a frame.
        settings, run: configuration.
        folder: of the run, whose errors.jsonl names the utterances that cannot be read.
    """

    def __init__(
        self,
        parts: Sequence[tuple[list[Utterance], int]],
        dev: list[Utterance],
        sample_rate: int,
        frame_s: float,
        settings: EventCropSettings,
        run: RunSettings,
        folder: Path,
    ):
        self.part_sizes, self.batch_sizes = [len(u) for u, _ in parts], [n for _, n in parts]
        log = ErrorLog(folder, "train")
        crops = [CropDataset(u, sample_rate, settings.crop_s, run.seed, hop_s=frame_s, errors=log) for u, _ in parts]
        dev = dev[: settings.val_utterances]
        dev_set = CropDataset(dev, sample_rate, settings.val_crop_s, None, errors=ErrorLog(folder, "dev"))
        super().__init__(PartDataset(crops), dev_set, collate, settings, run)

    def steps(self, start: int, stop: int) -> DataLoader:
        """The training batches of steps `start` to `stop` - 1 of this process, whichever have been taken already."""
        t = self.trainer
        assert t is not None
        sampler = PartSampler(
            self.part_sizes, self.batch_sizes, start, stop, self.run.seed, t.global_rank, t.world_size
        )
        return self._loader(self.train_set, sampler)
