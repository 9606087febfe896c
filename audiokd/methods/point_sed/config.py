"""The point-to-interval teacher as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class PointSedConfig(PreTrainedConfig):
    """A teacher that makes an interval of a point somebody has set on a sound event.

    Args:
        labels: names of the classes.
        mean_s: mean length of each, seconds.
        widths: of the convolutions' stages over log-mel frames of 10 ms; each halves the rate.
        depth: residual layers of each stage behind its first.
        dim: of a query, and of the frames that it reads.
        heads: of the attention.
        samples: places that a head reads of each stage besides those of its interval.
        roi_side: places over the interval, and around it; 0 has none: plain deformable attention.
        roi_span: how much longer than the interval the stretch is that they lie on.
        decoder_layers: how often a query reads, each time with the interval that the last one gave.
        ffn: width of the feed-forward network.
        dropout: of attention and feed-forward network.
        told_time: tell a query when in the clip it is; else a moved sound gets the moved interval.
        clip_s: seconds that are a whole turn of the time's fastest sine.
    """

    model_type = "point_sed"

    def __init__(
        self,
        labels: Sequence[str] = (),
        mean_s: Sequence[float] = (),
        widths: Sequence[int] = (64, 96, 128),
        depth: int = 1,
        dim: int = 96,
        heads: int = 8,
        samples: int = 4,
        roi_side: int = 9,
        roi_span: float = 2.0,
        decoder_layers: int = 3,
        ffn: int = 192,
        dropout: float = 0.1,
        told_time: bool = True,
        clip_s: float = 10.0,
        **kwargs: Any,
    ):
        self.labels, self.mean_s, self.widths, self.depth = list(labels), list(mean_s), list(widths), depth
        self.dim, self.heads, self.samples, self.roi_side, self.roi_span = dim, heads, samples, roi_side, roi_span
        self.decoder_layers, self.ffn, self.dropout = decoder_layers, ffn, dropout
        self.told_time, self.clip_s = told_time, clip_s
        super().__init__(**kwargs)
