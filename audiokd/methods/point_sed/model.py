"""The point-to-interval teacher: a query for every point that somebody has set on a sound, and an interval from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from audiokd.data.event_points import check_points, within
from audiokd.errors import AudioError, ConfigError
from audiokd.frontends.atst_mel import HOP_LENGTH, MIN_SAMPLES, N_MELS, SAMPLE_RATE, ATSTLogMel
from audiokd.methods.point_sed.attention import IntervalReader
from audiokd.methods.point_sed.config import PointSedConfig
from audiokd.nn.deformable_attention import begin_alike
from audiokd.nn.intervals import from_interval_code
from audiokd.nn.lengths import conv_length, length_mask, rows_by_item, zero_beyond
from audiokd.nn.sines import sines
from audiokd.nn.waveforms import check_wav


class FrameNorm(nn.LayerNorm):
    """Layer norm over the channels of each frame of [B, C, T]: no frame knows of another by it, nor of padding."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class FrameStages(nn.Module):
    """Convolutions over log-mel frames, mel bands as channels; each stage halves the rate.

    Args:
        config: PointSedConfig.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.hops_s = [HOP_LENGTH / SAMPLE_RATE * 2 ** (k + 1) for k in range(len(config.widths))]
        before = (N_MELS, *config.widths[:-1])
        self.first = nn.ModuleList(nn.Conv1d(a, b, 5, 2, 2) for a, b in zip(before, config.widths))
        self.norm = nn.ModuleList(FrameNorm(w) for w in config.widths)
        self.more = nn.ModuleList(
            nn.ModuleList(nn.Sequential(nn.Conv1d(w, w, 5, 1, 2), FrameNorm(w), nn.ReLU()) for _ in range(config.depth))
            for w in config.widths
        )
        self.out = nn.ModuleList(nn.Linear(w, config.dim) for w in config.widths)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of each stage [B, dim, T_l], and which of its frames are a clip's own, bool [B, T_l]; of log-mel [B, 64, T]."""
        maps, masks = [], []
        for first, norm, more, out in zip(self.first, self.norm, self.more, self.out):
            x = norm(first(zero_beyond(x, frames))).relu()
            frames = conv_length(frames, 5, 2, 2)
            for layer in more:
                x = x + layer(zero_beyond(x, frames))
            maps.append(out(x.transpose(1, 2)).transpose(1, 2))
            masks.append(length_mask(frames, x.shape[-1]))
        return maps, masks


class DecoderLayer(nn.Module):
    """Attention, norm, feed-forward network, norm; and the head of what comes out. No query sees another.

    Args:
        config: PointSedConfig.
        hops_s: seconds a frame of each stage.
    """

    def __init__(self, config: Any, hops_s: Sequence[float]):
        super().__init__()
        d = config.dim
        self.attention = IntervalReader(config, hops_s)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        drop = [nn.Dropout(config.dropout) for _ in range(2)]
        self.ffn = nn.Sequential(nn.Linear(d, config.ffn), nn.ReLU(), drop[0], nn.Linear(config.ffn, d), drop[1])
        self.regress = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 2))
        begin_alike(self.regress[-1])  # the mean length around the point

    def forward(self, query: Tensor, *told: Any) -> Tensor:
        """[B, Q, D], as of `IntervalReader`."""
        query = self.norm1(self.attention(query, *told))
        return self.norm2(query + self.ffn(query))


class PointSedModel(PreTrainedModel):
    """Intervals of the sound events that points stand on.

    Args:
        config: of it.

    Raises:
        ConfigError: no classes, mean lengths of others, a size that none can have, heads that do not divide the width, a width that
            has no room for sines.
    """

    config_class = PointSedConfig
    base_model_prefix = "point_sed"
    main_input_name = "wav"
    feature_layers = ()
    sample_rate = SAMPLE_RATE
    min_samples = MIN_SAMPLES

    def __init__(self, config: PointSedConfig):
        super().__init__(config)
        if not config.labels or len(config.mean_s) != len(config.labels) or not all(m > 0 for m in config.mean_s):
            what = f"{len(config.labels)} classes, {len(config.mean_s)} mean lengths"
            raise ConfigError(what, where="point_sed config", fix="a length over 0 of each class")
        least = {"heads": 1, "decoder_layers": 1, "depth": 0, "samples": 0, "roi_side": 0}
        for name, value in least.items():
            if getattr(config, name) < value:
                raise ConfigError(f"{getattr(config, name)}", where=f"model.{name}", fix=f"{value} or more")
        if config.roi_side == 1 or not config.samples + config.roi_side:
            what = f"{config.samples} samples, {config.roi_side} places over the interval"
            fix = "one of them over 0; a single place is no stretch: roi_side of 2 or more, or 0"
            raise ConfigError(what, where="model.roi_side", fix=fix)
        if not config.widths or min(config.widths) < 1 or not min(config.roi_span, config.clip_s) > 0:
            what = f"widths {list(config.widths)}, roi_span {config.roi_span:g}, clip_s {config.clip_s:g}"
            raise ConfigError(what, where="model", fix="one stage or more, and numbers over 0")
        if config.dim % config.heads or config.dim % 4:
            raise ConfigError(f"{config.heads} heads of a width of {config.dim}", where="model.dim")
        self.frontend = ATSTLogMel()
        self.stages = FrameStages(config)
        self.classes = nn.Embedding(len(config.labels), config.dim)
        self.layers = nn.ModuleList(DecoderLayer(config, self.stages.hops_s) for _ in range(config.decoder_layers))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts have begun by themselves."""

    def forward(
        self, wav: Tensor, lengths: Tensor | None, points: Tensor, labels: Tensor, whose: Tensor
    ) -> list[Tensor]:
        """What each decoder layer says of every point, in their order: codes [N, 2] (`audiokd.nn.intervals`).

        Args:
            wav: [B, T] at 16 kHz.
            lengths: [B] samples; all of T by default.
            points: [N] seconds.
            labels: [N] int64.
            whose: [N] int64, rising: the item of each.
        """
        return self.codes_of(*self.frontend(wav, check_wav(wav, lengths, wav.device)), points, labels, whose)

    def codes_of(self, mel: Tensor, frames: Tensor, points: Tensor, labels: Tensor, whose: Tensor) -> list[Tensor]:
        """As `forward`, of log-mel [B, 64, T] with `frames` [B]."""
        maps, masks = self.stages(mel, frames)
        rows, place = rows_by_item(points, whose, len(mel))
        kinds, _ = rows_by_item(labels, whose, len(mel))
        mean_s = rows.new_tensor(self.config.mean_s)[kinds]
        position = self.position(rows, mean_s)
        query = self.classes(kinds) + position
        code, said = torch.zeros_like(rows)[..., None].expand(-1, -1, 2), []
        for layer in self.layers:
            around = from_interval_code(code.float(), rows, mean_s)
            values = layer.attention.values(maps, masks)
            query = layer(query, position, around.mean(-1), around, values)
            code = code + layer.regress(query)
            said.append(code.flatten(0, 1)[place])
            code = code.detach()
        return said

    def position(self, points: Tensor, mean_s: Tensor) -> Tensor:
        """[B, Q, dim]: sines of the time, where it is told, and of the class' mean length (explicit positional query)."""
        half = self.config.dim // 2
        turn = 2 * math.pi / self.config.clip_s
        time = sines(points * turn, half) if self.config.told_time else points.new_zeros(*points.shape, half)
        return torch.cat([time, sines(mean_s, half)], -1)

    def intervals_of(self, code: Tensor, points: Tensor, labels: Tensor) -> Tensor:
        """[N, 2] onset and offset, seconds, of codes [N, 2] of `points` [N] with `labels` [N]."""
        return from_interval_code(code.float(), points, points.new_tensor(self.config.mean_s)[labels])

    @torch.no_grad()
    def predict(self, wav: np.ndarray, points: Sequence[tuple[float, int]]) -> np.ndarray:
        """Onset and offset [N, 2], seconds, float64, within the clip, of `points` (seconds, class) of one clip [T] at 16 kHz.

        Raises:
            AudioError: a clip of less than 32 ms, a point outside of it, a class that there is not.
        """
        duration_s = len(wav) / SAMPLE_RATE
        check_points([t for t, _ in points], duration_s)
        if any(not 0 <= k < len(self.config.labels) for _, k in points):
            raise AudioError(f"a point of a class that is none of {len(self.config.labels)}")
        if len(wav) < MIN_SAMPLES:
            raise AudioError(f"{len(wav)} samples; {MIN_SAMPLES} are needed", fix="leave it out")
        if not points:
            return np.zeros((0, 2))
        times = torch.tensor([t for t, _ in points], dtype=torch.float32, device=self.device)
        labels = torch.tensor([k for _, k in points], device=self.device)
        x = torch.from_numpy(np.ascontiguousarray(wav, dtype=np.float32))[None].to(self.device)
        code = self(x, None, times, labels, torch.zeros_like(labels))[-1]
        found = self.intervals_of(code, times, labels).double().cpu().numpy()
        return within(found, duration_s)
