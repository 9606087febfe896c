"""An audio encoder of transformers, of one of `audiokd.teachers.auto.FAMILIES`, with the face of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiokd.errors import AudiokdError
from audiokd.nn.features import AudioFeatures, clip_blocks_of, part_names
from audiokd.nn.lengths import length_mask
from audiokd.nn.waveforms import check_wav
from audiokd.teachers.base import FrozenTeacher

#: Whisper's window, and more than others were trained on
WINDOW_S, HOP_SHARE = 30.0, 5 / 6


class TransformersEncoder(nn.Module):
    """`extract_features` and `extract` over a frozen encoder; a clip's features do not depend on its batch.

    Args:
        teacher: the encoder, with `layer="normed"`.
    """

    teacher: FrozenTeacher

    def __init__(self, teacher: FrozenTeacher):
        super().__init__()
        self.teacher = teacher
        self.config: Any = self.net.config
        self.depth = teacher.num_layers

    @property
    def net(self) -> Any:
        """transformers' own model."""
        return self.teacher.net

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The encoder's weights, by which a store tells what it was made by."""
        return self.net.state_dict(*args, **kwargs)

    def parameters(self, recurse: bool = True) -> Any:
        """The encoder's, frozen."""
        return self.net.parameters(recurse)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return self.teacher.sample_rate

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.teacher.frame_rate

    @property
    def frame_size(self) -> int:
        """Samples a frame."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs."""
        return self.teacher.min_samples

    @property
    def max_duration_s(self) -> float | None:
        """Seconds that a clip may have."""
        return self.teacher.max_duration_s

    @property
    def window_s(self) -> float:
        """Seconds that `audiokd extract` gives it at once (`audiokd.nn.windows`)."""
        return min(WINDOW_S, self.max_duration_s or WINDOW_S)

    @property
    def hop_s(self) -> float:
        """Seconds from window to window: of a window's frames those of its middle count."""
        return self.window_s * HOP_SHARE

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return self.teacher.dim

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: see `audiokd.nn.features.part_names`."""
        return part_names(self.depth)

    def extract_features(
        self, wav: Tensor, lengths: Tensor | None = None, clip_blocks: int | None = None
    ) -> AudioFeatures:
        """Features of waveforms.

        A hidden state is what a layer gives, through the norm that the model has after its last layer, as its output is: the
        last one is transformers' `last_hidden_state`. In models where every layer ends in a norm of its own and none follows
        (HuBERT base and its kin, w2v-BERT 2.0), all are transformers' `hidden_states`. A clip's embedding is the mean over the
        frames of its last `clip_blocks` layers, one after another; all by default.

        Args:
            wav: [B, T] at `sample_rate`; at most 30 s for Whisper.
            lengths: [B] samples; all of T by default.
            clip_blocks: layers that the clip embedding is made of.

        Returns:
            `hidden_states` [B, T', D] of each layer at `frame_rate`, zeros past a clip's `lengths` [B] frames; `clip`
            [B, clip_blocks D].

        Raises:
            AudiokdError: a waveform that cannot be, is too long, or is too short for a frame.
        """
        n = clip_blocks or self.depth
        if n > self.depth:
            raise AudiokdError(f"clip_blocks {n} of a model that has {self.depth}")
        x, frames = self.teacher(wav, check_wav(wav, lengths, wav.device))
        if int(frames.min()) < 1:
            raise AudiokdError(f"item {int(frames.argmin())} is too short for a frame", fix="leave it out or pad it")
        valid = length_mask(frames, x.shape[1])[..., None]
        states = [s * valid for s in x.chunk(self.depth, -1)]
        clip = torch.cat([s.sum(1) / frames[:, None] for s in states[-n:]], -1)
        return AudioFeatures(states, frames, clip)

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; the clip embedding is one frame."""
        return self.extract_features(wav, lengths, clip_blocks_of(layer, self.depth) or None).part(layer)
