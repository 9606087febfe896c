"""Crops with the events that lie in them and a point on each, each a function of (seed, step, id)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from audiokd.data.audio import PAST_END_S
from audiokd.data.crops import CropDataset, collate, duration_of, rng_of
from audiokd.data.error_log import ErrorLog
from audiokd.data.event_points import EventPoint, point_of
from audiokd.data.events import Event
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError
from audiokd.frontends.atst_mel import SAMPLE_RATE
from audiokd.methods.point_sed.settings import PointSedCrops
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import RunSettings


class PointDataset(CropDataset):
    """Crops of utterances, as `CropDataset` gives them, with `events`: [(onset, offset, point, class), ...] seconds from where the
    crop begins.

    Args:
        utterances: that have events.
        labels: names of the classes.
        events: by utterance id, in the order of time.
        points: by utterance id, on these events; None where they are drawn at each step.
        crop_s: seconds of a crop.
        seed: of crops and points; None is validation, every crop from the start.
        errors: where what cannot be used is written down.
    """

    def __init__(
        self,
        utterances: list[Utterance],
        labels: Sequence[str],
        events: Mapping[str, Sequence[Event]],
        points: Mapping[str, Sequence[EventPoint]] | None,
        crop_s: float,
        seed: int | None,
        errors: ErrorLog | None = None,
    ):
        super().__init__(utterances, SAMPLE_RATE, crop_s, seed, errors=errors)
        self.number = {n: k for k, n in enumerate(labels)}
        self.events, self.points = events, points

    def read(self, utt: Utterance, step: int) -> dict[str, object]:
        """As above.

        Raises:
            AudioError: it cannot be read, or an event ends more than `PAST_END_S` past its end, or begins there.
        """
        duration = utt.duration_s if utt.duration_s is not None else duration_of(utt)
        mine = self.events[utt.id]
        if late := [e for e in mine if e.end_s > duration + PAST_END_S or e.start_s >= duration]:
            what = (
                f"{late[0].label} from {late[0].start_s:g} to {late[0].end_s:g} s in an utterance of {duration:.2f} s"
            )
            raise AudioError(what, where=f"{utt.where or utt.path}: {utt.id}", fix="correct its times")
        mine = [e._replace(end_s=min(e.end_s, duration)) for e in mine]  # cut before a point is set on what is left
        out = super().read(utt, step)
        start = float(out["start_s"])  # type: ignore[arg-type]
        if self.points is None:
            points = [point_of(e, rng_of(self.seed, "mark", step, utt.id, k)) for k, e in enumerate(mine)]
        else:
            points = list(self.points[utt.id])
        out["events"] = [
            (e.start_s - start, e.end_s - start, min(p.time_s, duration) - start, self.number[e.label])
            for e, p in zip(mine, points)
            if e.start_s >= start and e.end_s <= start + self.crop_s
        ]
        return out


def collate_points(items: list[dict[str, Any] | None]) -> dict[str, Any]:
    """As `audiokd.data.crops.collate`, with `intervals` [N, 2], `points` [N], `labels` [N] and `whose` [N], the item of each."""
    rows = [(k, *e) for k, item in enumerate(i for i in items if i is not None) for e in item["events"]]
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    return collate(items) | {
        "intervals": table[:, 1:3].float(),
        "points": table[:, 3].float(),
        "labels": table[:, 4].long(),
        "whose": table[:, 0].long(),
    }


class PointDataModule(StepDataModule):
    """Clips to train and to validate on.

    Args:
        train, dev: utterances with events.
        labels: names of the classes.
        events: by utterance id, of both sets.
        points: by utterance id, of dev, and of train where they are not drawn.
        settings, run: configuration.
        folder: of the run, whose errors.jsonl names the utterances that cannot be used.
    """

    def __init__(
        self,
        train: list[Utterance],
        dev: list[Utterance],
        labels: Sequence[str],
        events: Mapping[str, Sequence[Event]],
        points: Mapping[str, Sequence[EventPoint]],
        settings: PointSedCrops,
        run: RunSettings,
        folder: Path,
    ):
        given = None if settings.redraw_points else points
        log = [ErrorLog(folder, name) for name in ("train", "dev")]
        train_set = PointDataset(train, labels, events, given, settings.crop_s, run.seed, log[0])
        dev = dev[: settings.val_utterances]
        dev_set = PointDataset(dev, labels, events, points, settings.val_crop_s, None, log[1])
        super().__init__(train_set, dev_set, collate_points, settings, run)
