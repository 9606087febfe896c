"""LM-SPT training: an adversarial codec plus resynthesis distillation through a frozen ASR encoder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torchaudio
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.losses.resynthesis import resynthesis_loss
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.methods.lm_spt.settings import LMSPTSettings
from audiokd.teachers.whisper import WINDOW_S, WhisperTeacher
from audiokd.training.codec import AdversarialCodecModule, Rebuilt


class LMSPTModule(AdversarialCodecModule):
    """The whole system; only `generator`, an LMSPTModel, is exported.

    Args:
        settings: configuration.
        teacher: a frozen encoder; loaded from `settings.teacher.name` by default.
    """

    def __init__(self, settings: LMSPTSettings, teacher: WhisperTeacher | None = None):
        s = settings
        model = LMSPTModel(LMSPTConfig(**asdict(s.model)))
        n = s.model.n_semantic_codebooks
        names = [f"semantic{i}" for i in range(n)] + [f"acoustic{i}" for i in range(s.model.n_codebooks - n)]
        super().__init__(
            model, s.model.sample_rate, asdict(s.loss), model.quantizer.streams, names, s.discriminator, s.optim, s.run
        )
        self.teacher = teacher or WhisperTeacher.from_pretrained(
            s.teacher.name, s.teacher.window, floor=s.teacher.floor
        )
        self.distance = s.teacher.distance
        if s.data.crop_s > WINDOW_S:
            raise AudiokdError(f"data.crop_s {s.data.crop_s:g} is more than Whisper's {WINDOW_S} s window")
        # a full window's mean runs over 30 s, padding included; a crop's over its own frames: same scale, same balance
        self.distill_scale = s.data.crop_s / WINDOW_S if s.teacher.window == "crop" else 1.0
        self.weights["distill"] = s.loss.distill * self.distill_scale

    def rebuild(self, batch: dict[str, Any]) -> Rebuilt:
        out = self.generator(batch["wav"])
        q = out.quantized
        return Rebuilt(
            out.wav,
            q.codes,
            q.latents,
            {
                "distill": self.distill(batch["wav"], batch["lengths"], out.semantic_wav),
                "commit_semantic": q.commit_semantic,
                "codebook_semantic": q.codebook_semantic,
                "commit_acoustic": q.commit_acoustic,
                "codebook_acoustic": q.codebook_acoustic,
            },
        )

    def distill(self, wav: Tensor, lengths: Tensor, semantic_wav: Tensor) -> Tensor:
        """Resynthesis loss of `semantic_wav` [B, T_aux] against `wav` [B, T] with true `lengths` [B]."""
        config, teacher = self.generator.config, self.teacher
        with torch.no_grad():
            original = torchaudio.functional.resample(wav, config.sample_rate, teacher.sample_rate)
        rebuilt = torchaudio.functional.resample(semantic_wav, config.aux_sample_rate, teacher.sample_rate)
        n = -(-lengths * teacher.sample_rate // config.sample_rate)
        size = min(original.shape[-1], rebuilt.shape[-1])
        n = n.clamp(max=size)
        target = teacher.targets({"wav": original[:, :size], "lengths": n})
        predicted, _ = teacher(rebuilt[:, :size], n)
        frames = target["feature_lengths"] if teacher.window == "crop" else None
        return resynthesis_loss(predicted, target["features"], frames, self.distance)

    def constants(self, batch: dict[str, Any]) -> dict[str, float]:
        return {"distill_weight": self.weights["distill"]}
