"""Configuration of ATST. The defaults are the published ATST-Frame base and its pretraining (audio.md A1-A5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import AdamWSettings, CropSettings, RunSettings

#: frames of 10 ms a token
PATCH = 4


@dataclass
class ATSTShape:
    """Shape of the encoder.

    Args:
        kind: frame, or clip with a token of its own for the clip.
        dim: width.
        depth: transformer blocks.
        heads: of attention.
        mlp_ratio: width of the feed-forward layers over dim.
        qkv_bias: biases of queries, keys and values.
        drop_path: of the last block in training; it grows linearly from 0 at the first.
        max_frames: of 10 ms that there are positions for.
        win_length: of the log-mel's window, samples; the published ATST-Frame small has 640.
        chunk_frames: of 10 ms that `extract_features` runs at once (601 for the published ATST-Clip base); 0 is, in training, the
            crop, for positions beyond it are never trained, and else max_frames.
        chunks: how clips that are longer are cut. weighted: into whole tokens, each chunk counting in the clip embedding by its
            frames. The official code cuts every chunk_frames, which loses their last frame, and lets chunks count the same:
            official_half those more than half full and the first (its downstream tasks; for ATST-Clip a chunk's mean over
            frames is divided by all frames from its start to the clip's end, as there), official_all every one, and a tail of
            1 to 3 frames, which has no token, as zeros (its embedding.py).
    """

    kind: Literal["frame", "clip"] = "frame"
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    drop_path: float = 0.1
    max_frames: int = 1001
    win_length: int = 1024
    chunk_frames: int = 0
    chunks: Literal["weighted", "official_half", "official_all"] = "weighted"

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform."""
        return 16000


@dataclass
class ViewSettings:
    """How the two views of a crop (of two crops for ATST-Clip) differ.

    Args:
        mixup: share of another clip that is mixed in at most (log-mixup-exp); 0 mixes nothing.
        mixup_memory: clips of this process that went before from which the other is drawn.
        warp: resize a random crop of the mel axis, for ATST-Clip of both axes.
        both: change both views, or leave the first as it is; by default both of ATST-Clip and one of ATST-Frame.
        mask: for ATST-Frame, what is hidden from the student, in both views alike: block (spans of mask_length), uniform
            (spans of 2 to 2 mask_length) or random (single tokens).
        mask_share: of the tokens that the spans would hide if they did not overlap.
        mask_length: tokens of a span.
    """

    mixup: float = 0.4
    mixup_memory: int = 2000
    warp: bool = True
    both: bool | None = None
    mask: Literal["block", "uniform", "random"] = "block"
    mask_share: float = 0.65
    mask_length: int = 5


@dataclass
class HeadSettings:
    """Projector of student and teacher, predictor of the student.

    Args:
        hidden: width of their hidden layers.
        out: of their outputs.
    """

    hidden: int = 4096
    out: int = 256


@dataclass
class TeacherSettings:
    """The teacher, an average of the student over time.

    Args:
        ema: decay at the first step; it rises to 1 in a half cosine.
        average_blocks: regress the mean of this many last blocks, normalised over the clip, by one linear layer in place of
            the heads, as data2vec does (the official ablation has 8); 0 is ATST.
    """

    ema: float = 0.9996
    average_blocks: int = 0


@dataclass
class SSLOptimSettings(AdamWSettings):
    """AdamW whose weight decay grows; eps is that of transformers' former AdamW, which the official code uses.

    Args:
        lr: peak learning rate of the whole batch (the published 8e-5 per 256 clips, times 864 / 256).
        weight_decay: on matrices at the first step; biases and norms have none.
        last_weight_decay: at the last step, by a half cosine.
        grad_clip: norm that the gradient is clipped to; 0 clips nothing, as officially.
    """

    lr: float = 2.7e-4
    min_lr: float = 1e-6
    warmup_steps: int = 19_900
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.04
    last_weight_decay: float = 0.4
    grad_clip: float = 0.0


@dataclass
class ATSTSettings:
    """Everything `audiokd fit atst` can be told.

    Args:
        model: shape of the encoder; kind is which of the two systems it is.
        views: augmentation and masks.
        heads: projector and predictor.
        teacher: the averaged teacher.
        data: training crops.
        optim: optimiser.
        run: how long and where.
    """

    model: ATSTShape = field(default_factory=ATSTShape)
    views: ViewSettings = field(default_factory=ViewSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    data: CropSettings = field(default_factory=lambda: CropSettings(crop_s=10.0, batch_size=144))
    optim: SSLOptimSettings = field(default_factory=SSLOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=398_000))
