"""Configuration of SALT. The defaults are those of V-JEPA 2's ViT-L, on whose machinery SALT is built (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.data.video import Decoder
from audiokd.training.settings import AdamWSettings, CropSettings, RunSettings


@dataclass
class SALTShape:
    """Shape of the encoder and of what it is given.

    Args:
        kind: video, or audio: log-mel spectrograms of 64 bands and 10 ms a frame (`audiokd.frontends.atst_mel`).
        dim: width.
        depth: transformer blocks.
        heads: of attention.
        mlp_ratio: width of the MLPs over dim.
        patch: pixels a side of a patch, or mel bands and frames.
        tubelet: frames of a video that a patch goes through.
        frames: of a clip of video.
        fps: frames a second of a clip of video; 0 takes a video's own.
        size: pixels a side of a clip of video.
        top_db: of audio: log-mel is floored so many dB below a crop's maximum, as ATST's is; 0: nowhere but at 1e-10. With a floor
            that goes by the crop, what is hidden shows in what is seen, by how loud it is.
        init_std: deviation of the first weights, of the predictor, too. V-JEPA 2's fits a width of 1,024; narrow networks that
            begin with it stay long at predicting the mean: 0.1 fits a width of 100.
    """

    kind: Literal["video", "audio"] = "video"
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    patch: int = 16
    tubelet: int = 2
    frames: int = 16
    fps: float = 4.0
    size: int = 224
    top_db: float = 0.0
    init_std: float = 0.02


@dataclass
class PredictorShape:
    """The predictor of latents, or the decoder of pixels.

    Args:
        dim: width.
        depth: transformer blocks.
        heads: of attention.
    """

    dim: int = 384
    depth: int = 12
    heads: int = 12


@dataclass
class SALTMasks:
    """What is hidden from the encoder, and predicted (`audiokd.nn.block_masks`).

    Args:
        kind: blocks (V-JEPA's), or tubes of single patches (VideoMAE's), as a comparison.
        blocks: of each kind of mask; every step takes all of them.
        scales: share of the grid that a block of each kind has.
        shape: of blocks: square, V-JEPA's rule; relative to the grid; auto is relative for audio, whose grid is flat.
        raster: cut masks of a batch to one size by the first in raster order, as V-JEPA's code does, in place of at random.
        tubes: share that each tube mask hides.
    """

    kind: Literal["blocks", "tubes"] = "blocks"
    blocks: tuple[int, ...] = (8, 2)
    scales: tuple[float, ...] = (0.15, 0.7)
    shape: Literal["auto", "square", "relative"] = "auto"
    raster: bool = False
    tubes: tuple[float, ...] = (0.9,)


@dataclass
class SALTLoss:
    """Regression of what is hidden.

    Args:
        power: 1 is the mean of absolute differences, 2 half that of squares.
        norm_pixels: of step teacher: normalise the numbers of each patch first, as MAE does.
        norm_latents: of student and ema: normalise each target over its channels, as V-JEPA 2 does; whether SALT keeps that is
            not confirmed.
    """

    power: int = 1
    norm_pixels: bool = False
    norm_latents: bool = True


@dataclass
class SALTTeacher:
    """Who gives the latents.

    Args:
        model: of step student: folder of the encoder that step teacher trained; it may be of another width and depth.
        ema: of step ema: decay of the average, the same at every step.
    """

    model: str = ""
    ema: float = 0.99925


@dataclass
class SALTData(CropSettings):
    """Clips of videos, or crops of sound.

    Args:
        batch_size: clips a device and step.
        crop_s: seconds of a crop of sound.
        val_crop_s: seconds from the start of each validation utterance; those of crop_s if 0.
        scale: least and greatest share of a video's picture that a random crop takes.
        decoder: of videos: pyav; torchcodec, which needs FFmpeg's libraries and takes damaged frames for good ones; auto, the
            latter where it can be loaded, else the former. The pixels are the same.
        val_items: validation videos used at most.
        keep: hold videos in memory once they are decoded, each reading process its own: for small sets of short ones.
    """

    batch_size: int = 24
    crop_s: float = 10.24
    val_crop_s: float = 0.0
    scale: tuple[float, ...] = (0.3, 1.0)
    decoder: Decoder = "pyav"
    val_items: int = 256
    keep: bool = False


@dataclass
class SALTOptim(AdamWSettings):
    """AdamW, warmed up, at a constant rate, then along a straight line to the last step.

    Args:
        lr: of the constant stretch.
        min_lr: at the last step of the decay.
        decay_steps: the last so many steps; 0 keeps the rate.
        grad_clip: norm that the gradient is clipped to; 0 clips nothing.
    """

    lr: float = 5.25e-4
    min_lr: float = 0.0
    warmup_steps: int = 12_000
    decay_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.04
    grad_clip: float = 0.0


@dataclass
class SALTBranch:
    """A run that goes on from a checkpoint of another's constant stretch, to decay from there.

    Args:
        run: folder of the other run; empty is a run of its own.
        step: of its checkpoint, one that `keep` names there.
    """

    run: str = ""
    step: int = 0


@dataclass
class SALTSettings:
    """Everything `audiokd fit salt` can be told.

    Args:
        step: teacher reconstructs pixels (or log-mel) behind masks; student regresses a frozen teacher's latents; ema those of its
            own average over time (V-JEPA), the baseline.
        model: shape of the encoder.
        predictor: of the predictor, or of the decoder of step teacher.
        masks: what is hidden.
        loss: regression.
        teacher: who gives the latents.
        data: clips.
        optim: optimiser.
        branch: whose checkpoint it goes on from.
        keep: steps whose checkpoints are kept for branches.
        max_flops: operations of all steps, those of step teacher included for a student; run.max_steps is as many as that allows.
            0 leaves run.max_steps.
        run: how long and where.
    """

    step: Literal["teacher", "student", "ema"] = "teacher"
    model: SALTShape = field(default_factory=SALTShape)
    predictor: PredictorShape = field(default_factory=PredictorShape)
    masks: SALTMasks = field(default_factory=SALTMasks)
    loss: SALTLoss = field(default_factory=SALTLoss)
    teacher: SALTTeacher = field(default_factory=SALTTeacher)
    data: SALTData = field(default_factory=SALTData)
    optim: SALTOptim = field(default_factory=SALTOptim)
    branch: SALTBranch = field(default_factory=SALTBranch)
    keep: tuple[int, ...] = ()
    max_flops: float = 0.0
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=40_000, precision="bf16-mixed"))
