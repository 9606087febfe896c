"""Batches of frames with what is to be learnt of them, each a function of (seed, step, id)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.data.error_log import ErrorLog
from audiokd.data.frame3d import Frame3d
from audiokd.data.replacing import ReplacingDataset
from audiokd.errors import FrameError
from audiokd.methods.point_detr3d.frames import check_frame, collate_frames, frame_tensors, grid_of, objects_within
from audiokd.methods.point_detr3d.settings import PointDetr3dSettings, SceneAugment
from audiokd.training.datamodule import StepDataModule
from audiokd.vision.bev_augment import augmentation

#: frame -> boxes, labels, scores
Pseudo = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]


class FrameDataset(ReplacingDataset):
    """Frames of a set, indexed by (step, index).

    Args:
        frames: of the set (`audiokd.data.frames3d.Frames3d`).
        chosen: indices of those that are used.
        config: of the model.
        settings: configuration.
        pseudo: boxes of frames of which not every object has one; they stand for those that have none, as the frame's marks are
            in order.
        training: whether scenes are moved, and marks drawn anew.
        errors: where what cannot be used is written down.
    """

    def __init__(
        self,
        frames: Any,
        chosen: Sequence[int],
        config: Any,
        settings: PointDetr3dSettings,
        pseudo: Pseudo | None,
        training: bool,
        errors: ErrorLog | None = None,
    ):
        super().__init__([frames.items[k] for k in chosen], training, errors)
        self.frames, self.config, self.settings, self.pseudo = frames, config, settings, pseudo or {}
        self.number = {frames.ids[k]: k for k in chosen}
        self._kept: dict[str, Frame3d] = {}

    def read(self, item: Any, step: int) -> dict[str, Any]:
        """Tensors of a frame (`frame_tensors`) with `boxes` [N, 7], `labels` [N], `marks` [N, 3]; of the student's training frames
        also `weak`, the scene as it is, and `augment` [4, 4], what moved it.

        Raises:
            FrameError: it cannot be used.
        """
        s, frame = self.settings, self._frame(item)
        boxes, labels, marks = self._objects(frame, step)
        matrix = None
        if self.training and s.step in s.augment.steps:
            matrix = draw_augmentation(s.augment, s.run.seed, step, frame.id)
        out = frame_tensors(frame, self.config, matrix)
        out |= objects_within(grid_of(self.config), boxes, labels, marks, matrix)
        if self.training and s.step == "student" and s.loss.point_guided:
            plain = frame_tensors(frame, self.config)
            plain |= objects_within(grid_of(self.config), boxes, labels, marks)
            out |= {"weak": plain, "augment": torch.eye(4, dtype=torch.float64) if matrix is None else matrix}
        return out

    def _frame(self, item: Any) -> Frame3d:
        if item.id in self._kept:
            return self._kept[item.id]
        frame = self.frames[self.number[item.id]]
        check_frame(frame, len(self.config.labels), getattr(self.config, "cameras", 0))
        if self.settings.data.keep:
            self._kept[item.id] = frame
        return frame

    def _objects(self, frame: Frame3d, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes, labels and marks; of the teacher those of objects that have both."""
        s = self.settings
        if not frame.boxed.all():
            boxes, labels = self._with_pseudo(frame)
            return boxes, labels, np.full((len(boxes), 3), np.nan, dtype=np.float32)
        if s.step != "teacher":
            return frame.boxes, frame.labels, np.full_like(frame.marks, np.nan)
        if self.training and s.data.redraw_marks:
            from audiokd.data.point_marks import mark_of

            rng = rng_of(s.run.seed, "marks", step, frame.id)
            drawn = [mark_of(box, rng) for box in frame.boxes]
            return frame.boxes, frame.labels, np.array(drawn, dtype=np.float32).reshape(-1, 3)
        has = ~np.isnan(frame.marks).any(1)
        return frame.boxes[has], frame.labels[has], frame.marks[has]

    def _with_pseudo(self, frame: Frame3d) -> tuple[np.ndarray, np.ndarray]:
        """The true boxes that a frame has, and the teacher's of its other objects; with labels."""
        where = f"scene {frame.scene}, frame {frame.id}"
        if frame.id not in self.pseudo:
            raise FrameError("has no boxes to learn from", where=where, fix="the teacher could not use the frame")
        boxes, labels, scores = self.pseudo[frame.id]
        # the teacher saw nothing of what lies outside, and a moved scene may bring it in
        keep = (scores >= self.settings.data.min_score) & grid_of(self.config).inside(torch.from_numpy(boxes)).numpy()
        if frame.boxed.any():
            marked = ~np.isnan(frame.marks).any(1)
            if marked.sum() != len(boxes):  # nobody can say whose they are
                what = (
                    f"{len(boxes)} found boxes of {int(marked.sum())} objects with marks, some of which have true boxes"
                )
                raise FrameError(what, where=where, fix="find boxes by a point-to-box teacher, in this very set")
            keep &= ~frame.boxed[marked]
        return (
            np.concatenate([frame.boxes[frame.boxed], boxes[keep]]),
            np.concatenate([frame.labels[frame.boxed], labels[keep]]),
        )


class FrameDataModule(StepDataModule):
    """Frames to train and to validate on.

    Args:
        train, dev: sets, each with the indices that are used of it.
        config: of the model.
        settings: configuration.
        pseudo: boxes of the training frames that are not boxed.
        folder: of the run, whose errors.jsonl names the frames that cannot be used.
    """

    def __init__(
        self,
        train: tuple[Any, Sequence[int]],
        dev: tuple[Any, Sequence[int]],
        config: Any,
        settings: PointDetr3dSettings,
        pseudo: Pseudo | None,
        folder: Path,
    ):
        train_set = FrameDataset(*train, config, settings, pseudo, True, ErrorLog(folder, "train"))
        dev_set = FrameDataset(*dev, config, settings, None, False, ErrorLog(folder, "dev"))
        super().__init__(train_set, dev_set, collate_frames, settings.data, settings.run)


def draw_augmentation(s: SceneAugment, seed: int, step: int, id: str) -> Tensor:
    """[4, 4] that moves frame `id` at `step`."""
    rng = rng_of(seed, "scene", step, id)
    flips, angle = rng.random(2) < s.flip, rng.uniform(-s.angle, s.angle)
    scale, shift = rng.uniform(1 - s.scale, 1 + s.scale), rng.normal(0, s.shift, 3) if s.shift else np.zeros(3)
    return augmentation(bool(flips[0]), bool(flips[1]), float(angle), float(scale), tuple(shift.tolist()))
