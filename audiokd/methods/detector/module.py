"""Fine-tuning for sound events: from strong labels, weak ones and none, alone or taught by models that were fine-tuned before."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiokd.data.crops import rng_of
from audiokd.data.views.frequency_warp import FREQUENCY_WARP
from audiokd.data.views.label_mixup import LabelMixup
from audiokd.errors import AudiokdError
from audiokd.losses.event_detection import clip_loss, consistency_loss, frame_loss
from audiokd.methods.detector.data import EventLabels
from audiokd.methods.detector.model import DetectorModel
from audiokd.methods.detector.settings import DetectorSettings
from audiokd.nn.average_precision import mean_average_precision
from audiokd.nn.ema import ema_update
from audiokd.nn.lengths import length_mask
from audiokd.training.schedules import exponential_ramp
from audiokd.training.taught import TaughtModule


class DetectorModule(TaughtModule):
    """The student, its moving average, and teachers.

    Args:
        settings: configuration.
        model: the student.
        labels: of the training and the validation set.
        averaged: whether there is a mean teacher.
        teachers: detectors of the same labels and frame rate.
        logits: [T', C] of cached teachers by utterance id, of whole utterances.
    """

    def __init__(
        self,
        settings: DetectorSettings,
        model: DetectorModel,
        labels: EventLabels,
        averaged: bool,
        teachers: Sequence[DetectorModel] = (),
        logits: Sequence[Mapping[str, Tensor]] = (),
    ):
        super().__init__(settings.run, settings.optim, settings.teachers, model, teachers, settings.augment.warp)
        for t in teachers:
            if t.frame_rate != model.frame_rate:
                what = f"a teacher of {t.frame_rate:g} frames a second, the student has {model.frame_rate:g}"
                raise AudiokdError(what)
        self.settings, self.labels, self.cached = settings, labels, list(logits)
        self.mean = copy.deepcopy(model).requires_grad_(False) if averaged else None
        self._frames: dict[str, list[Tensor]] = {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.reseed()
        ids, s = batch["ids"], self.settings
        x, n, mix = self._views(batch)
        heard = self._warped(x, ids)
        events, lengths, clips = self.logits(self.model, heard, n)
        counted = length_mask(lengths, events.shape[1])
        labels = self.labels
        strong, weak = labels.are_strong(ids).to(self.device), labels.are_weak(ids).to(self.device)
        targets = mix(labels.frames(ids, batch["starts_s"], events.shape[1]).to(self.device))
        parts = {"strong": frame_loss(events, targets, counted & strong[:, None])}
        if bool(weak.any()):
            parts["weak"] = clip_loss(clips, mix(labels.clips(ids).to(self.device)), weak)
        share = 0.0
        if self.teachers or self.cached:
            share = self.taught.weight
            said = self._ask(heard, n, mix, batch, events)
            both = said.shape[1]  # encoders of one rate may differ by a frame at the end
            parts["taught"] = frame_loss(events[:, :both], said, counted[:, :both])
        loss = share * parts.get("taught", 0.0) + (1 - share) * (parts["strong"] + s.loss.weak * parts.get("weak", 0.0))
        metrics: dict[str, Any] = {}
        if self.mean is not None:
            m = s.mean_teacher
            weight = exponential_ramp(self.iteration, peak=m.weight, ramp_steps=m.ramp_steps)
            parts["consistency"] = consistency_loss(events, clips, *self._mean_says(x, n), counted)
            loss = loss + weight * parts["consistency"]
            metrics = {"consistency_weight": weight}
        metrics |= {**self.learn(loss, batch, parts), **parts}
        if self.mean is not None:
            # a plain mean at first, as in the baseline: step n counts 1 / (n + 1)
            decay = min(1 - 1 / (self.iteration + 2), s.mean_teacher.ema)
            ema_update(self.mean, self.model, decay)
        self.step_done(metrics)

    @torch.no_grad()
    def _views(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, LabelMixup]:
        """Log-mel and its frames, or waveforms and their samples, and what mixes labels as they are mixed.

        Two that are mixed are as long as the longer one; in the baseline all of a crop counts, silence too.
        """
        x, n = self.front(batch, silence=self.settings.augment.mixup > 0)
        mix = self._mixup(batch["ids"])
        return mix(x), mix.lengths(n), mix

    def _mixup(self, ids: list[str]) -> LabelMixup:
        """Strongly labelled crops with such, weakly labelled ones with such."""
        a, step, seed = self.settings.augment.mixup, self.iteration, self.run.seed
        share, partner = torch.ones(len(ids)), torch.arange(len(ids))
        if a:
            for kind in (self.labels.are_strong(ids), self.labels.are_weak(ids)):
                rows = kind.nonzero()[:, 0]
                if len(rows) > 1:
                    shift = 1 + int(rng_of(seed, "partner", step).integers(len(rows) - 1))
                    partner[rows] = rows.roll(shift)
                    drawn = [float(rng_of(seed, "augment", step, ids[i]).beta(a, a)) for i in rows.tolist()]
                    share[rows] = torch.tensor(drawn)
        return LabelMixup(share.to(self.device), partner.to(self.device))

    @torch.no_grad()
    def _warped(self, mel: Tensor, ids: list[str]) -> Tensor:
        if not self.warped:
            return mel
        rngs = [rng_of(self.run.seed, "warp", self.iteration, i) for i in ids]
        return FREQUENCY_WARP(mel, torch.tensor([FREQUENCY_WARP.draw(r, *mel.shape[1:]) for r in rngs]))

    @torch.no_grad()
    def _ask(self, x: Tensor, n: Tensor, mix: LabelMixup, batch: dict[str, Any], like: Tensor) -> Tensor:
        """The mean of the teachers' probabilities [B, T', C], of as many frames as all have: of models for the very batch that the
        student sees, of cached ones mixed as the labels are; nothing is on past the end of an utterance."""
        said = [t.float().sigmoid() for t in self.ask(lambda t: self.logits(t, x, n)[0])]
        for table in self.cached:
            known = torch.zeros_like(like, dtype=torch.float32)
            for row, i, start in zip(known, batch["ids"], batch["starts_s"]):
                first = round(start * self.labels.frame_rate)
                of = table[i][first : first + len(row)]
                row[: len(of)] = of.to(self.device).sigmoid()
            said.append(mix(known))
        both = min(s.shape[1] for s in (like, *said))
        return torch.stack([s[:, :both] for s in said]).mean(0)

    @torch.no_grad()
    def _mean_says(self, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        assert self.mean is not None
        events, _, clips = self.logits(self.mean.eval(), x, n)
        return events, clips

    @property
    def _models(self) -> dict[str, DetectorModel]:
        """What is validated."""
        return {"student": self.model} | ({"mean": self.mean} if self.mean is not None else {})

    def validate_batch(self, batch: dict[str, Any]) -> None:
        x, n = self.front(batch)
        for name, model in self._models.items():
            events, lengths, _ = self.logits(model, x, n)
            counted = length_mask(lengths, events.shape[1])
            true = self.labels.frames(batch["ids"], batch["starts_s"], events.shape[1]).to(self.device)
            if name == self.settings.mean_teacher.exported or len(self._models) == 1:
                self.add_val({"loss": frame_loss(events, true, counted)}, int(counted.sum()))
            self._frames.setdefault(name, []).append(events[counted].float().cpu())
        self._frames.setdefault("true", []).append(true[counted].bool().cpu())

    def val_means(self) -> dict[str, float]:
        means = super().val_means()
        rows = {k: self.of_all_processes(self._frames.get(k, [])) for k in (*self._models, "true")}
        self._frames = {}
        true = rows.pop("true")
        scores = {k: mean_average_precision(v, true) for k, v in rows.items()}
        chosen = self.settings.mean_teacher.exported if len(scores) > 1 else "student"
        return means | {"score": scores.pop(chosen)} | {f"score_{k}": v for k, v in scores.items()}
