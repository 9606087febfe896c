"""Configuration of the point-to-interval teacher. Sizes are ours; the losses and the marks are Point-DETR3D's (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiokd.training.settings import AdamWSettings, CropSettings, RunSettings


@dataclass
class PointSedShape:
    """The teacher.

    Args:
        widths: of the convolutions' stages; frames of 20 ms, 40 ms and so on.
        depth: residual layers of each stage behind its first.
        dim: of a query, and of the frames that it reads.
        heads: of the attention.
        samples: places that a head reads of each stage besides those of its interval.
        roi_side: places over the interval, and around it; 0 has none: plain deformable attention.
        roi_span: how much longer than the interval the stretch is that they lie on.
        decoder_layers: how often a query reads.
        ffn: width of the feed-forward network.
        dropout: of attention and feed-forward network.
        told_time: tell a query when in the clip it is, as Point-DETR3D tells where; without, a moved sound gets the moved interval.
        clip_s: seconds that are a whole turn of the time's fastest sine.
    """

    widths: tuple[int, ...] = (64, 96, 128)
    depth: int = 1
    dim: int = 96
    heads: int = 8
    samples: int = 4
    roi_side: int = 9
    roi_span: float = 2.0
    decoder_layers: int = 3
    ffn: int = 192
    dropout: float = 0.1
    told_time: bool = True
    clip_s: float = 10.0


@dataclass
class PointSedLoss:
    """Weights of the two sides of the L1 loss of codes, each a sum over decoder layers and a mean over events.

    Args:
        centre: of the way from the point to the middle, in mean lengths of the class.
        length: of the length's logarithm.
    """

    centre: float = 1.0
    length: float = 1.0


@dataclass
class PointSedAugment:
    """What is done to training crops; their events and points move along.

    Args:
        stretch: log-mel frames become up to e^stretch times as many or as few, each crop by its own share.
        mix: share of crops that get another's sound, and events, on top.
    """

    stretch: float = 0.3
    mix: float = 0.5


@dataclass
class PointSedCrops(CropSettings):
    """Crops of clips with events. An event that a crop cuts is left out of it.

    Args:
        redraw_points: draw the training events' points anew at each step, as Point-DETR3D does; false takes points.tsv's.
        test: data dirs that are tested on; a run that would see one of their clips does not start.
    """

    crop_s: float = 8.0
    batch_size: int = 8
    val_crop_s: float = 10.0
    val_utterances: int = 1_000_000
    redraw_points: bool = True
    test: tuple[str, ...] = ()


@dataclass
class PointSedOptim(AdamWSettings):
    """AdamW, warmed up, then along a half cosine."""

    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup_steps: int = 50
    beta1: float = 0.9
    beta2: float = 0.999
    grad_clip: float = 5.0


@dataclass
class PointSedSettings:
    """Everything `audiokd fit point_sed` can be told.

    Args:
        model: the teacher.
        loss: weights.
        augment: of the training crops.
        data: crops.
        optim: optimiser.
        run: how long and where.
    """

    model: PointSedShape = field(default_factory=PointSedShape)
    loss: PointSedLoss = field(default_factory=PointSedLoss)
    augment: PointSedAugment = field(default_factory=PointSedAugment)
    data: PointSedCrops = field(default_factory=PointSedCrops)
    optim: PointSedOptim = field(default_factory=PointSedOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=2000, val_every=200))
