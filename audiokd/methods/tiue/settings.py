"""Configuration of TiUE (arXiv 2505.21960). The defaults are its official script's, of Stable Diffusion 1.5 and 2.1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from audiokd.training.settings import RunSettings

#: pretrain: a small conditional diffusion model from pictures or sounds; distill: a student of few steps from a diffusion model
Step: TypeAlias = Literal["pretrain", "distill"]
#: tiue: data-free, T steps of one encoder pass; swiftbrush: its case of one step (arXiv 2312.05239); lcm: consistency distillation
#: of data (arXiv 2310.04378)
Kind: TypeAlias = Literal["tiue", "swiftbrush", "lcm"]


@dataclass
class UNetShape:
    """Of pretrain, the network: diffusers' UNet2DConditionModel.

    Args:
        size: side of a picture, pixels; a picture of another size is resized. Sounds have mel.frames by mel.n_mels.
        channels: 1 (grey, and sounds) or 3.
        widths: channels of each level, a level having half the side of the one before.
        attention: whether each level attends to its condition; the middle always does.
        layers: residual blocks a level.
        heads: channels of an attention head.
        norm_groups: of group norm.
        text_dim: of the condition's token where labels are the condition.
        text_encoder: folder or hub id of a text encoder of transformers, whose texts are the condition (captions, or labels where
            there is none); empty: labels, by a learnt embedding.
        prediction: what the network predicts.
    """

    size: int = 32
    channels: int = 1
    widths: tuple[int, ...] = (32, 64, 64)
    attention: tuple[bool, ...] = (False, True, True)
    layers: int = 1
    heads: int = 16
    norm_groups: int = 8
    text_dim: int = 64
    text_encoder: str = ""
    prediction: Literal["epsilon", "v_prediction", "sample"] = "epsilon"


@dataclass
class MelSettings:
    """Of pretrain, sounds as log-mel pictures (`audiokd.frontends.mel_picture.MelPicture`).

    Args:
        sample_rate: Hz.
        n_fft: window, samples.
        hop_length: samples between frames.
        n_mels: bands.
        frames: of a sound; what is longer is cut off, what is shorter ends in silence.
        low_db: magnitude that becomes -1.
        high_db: magnitude that becomes 1.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 32
    frames: int = 32
    low_db: float = -80.0
    high_db: float = 40.0


@dataclass
class Noising:
    """Of pretrain, the schedule; the defaults are Stable Diffusion's.

    A student of few steps divides what its first one gets wrong by the signal that is left there: 15 times as much under this
    schedule, 158 times under DDPM's own (linear, 0.0001 to 0.02).

    Args:
        beta_schedule: of diffusers.
        beta_start: of linear and scaled_linear.
        beta_end: of linear and scaled_linear.
        timesteps: of it.
        drop_condition: share of training pictures without their condition, which guidance needs.
    """

    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    timesteps: int = 1000
    drop_condition: float = 0.1


@dataclass
class Distillation:
    """Of distill.

    Args:
        kind: tiue, swiftbrush or lcm.
        teacher: folder of an exported pretrain run, or folder or hub id of Stable Diffusion, AudioLDM, AudioLDM2 or MusicLDM.
        init: folder of an exported distill run whose student goes on; left out, it begins as its teacher.
        steps: T of the student; 0 is 1 of swiftbrush and 4 of the others.
        timestep_spacing: of the student's steps; left out, leading of tiue as officially, trailing of swiftbrush.
        guidance: w of teacher (and fake score) in training; the student itself needs none.
        size: side of the noise, of sounds its length (frames, or rows of latents); the teacher's own for 0. Not of lcm.
        t_min: lowest time of the student's loss, share of the schedule.
        t_max: highest one.
        drop_condition: of the fake score's loss.
        fake_steps: updates of the fake score for each of the student.
        checkpointing: gradient checkpointing of the student and the fake score: less memory, more time.
        solver_steps: of lcm, DDIM steps of the teacher's path from noise to data.
        target_decay: of lcm, of the average of the student that gives targets.
        huber: of lcm, c of the distance.
    """

    kind: Kind = "tiue"
    teacher: str = ""
    init: str = ""
    steps: int = 0
    timestep_spacing: Literal["", "leading", "trailing"] = ""
    guidance: float = 4.5
    size: int = 0
    t_min: float = 0.02
    t_max: float = 0.981
    drop_condition: float = 0.1
    fake_steps: int = 1
    checkpointing: bool = False
    solver_steps: int = 50
    target_decay: float = 0.95
    huber: float = 0.001

    @property
    def student_steps(self) -> int:
        """T."""
        return self.steps or (1 if self.kind == "swiftbrush" else 4)

    @property
    def spacing(self) -> str:
        """Of the student's steps."""
        return self.timestep_spacing or ("trailing" if self.kind == "swiftbrush" else "leading")


@dataclass
class LoraSettings:
    """The fake score's adapters.

    Args:
        rank: of them.
        alpha: their product counts alpha / rank times.
        targets: endings of the adapted modules' names.
    """

    rank: int = 64
    alpha: float = 108.0
    targets: tuple[str, ...] = ("to_q", "to_v")


@dataclass
class TiUELoss:
    """Weights beside variational score distillation's 1.

    Args:
        kl: of the divergence of predicted noise from standard noise, a mean over maps: officially 0.1 of the sum, 3.2 of the mean
            of 4 steps and 8 pictures. None of swiftbrush.
        clip: of the CLIP term at the first step, falling to 0 at the last; the paper's results are without.
        clip_model: folder or hub id of a CLIP.
        clip_tau: cosine that is enough.
    """

    kl: float = 3.2
    clip: float = 0.0
    clip_model: str = ""
    clip_tau: float = 0.35


@dataclass
class TiUEData:
    """Prompts, or pictures and sounds with labels or captions.

    Args:
        batch_size: a device and step.
        num_workers: loader processes a device; the batches are the same whatever it is.
        column: of a table of prompts.
        split: of a data set of prompts.
        val_items: of the validation set at most, evenly spaced.
        test: of pretrain and lcm, data dirs that samples are compared with; a run that would learn from one of their items does not
            start.
    """

    batch_size: int = 8
    num_workers: int = 2
    column: str = ""
    split: str = "train"
    val_items: int = 256
    test: tuple[str, ...] = ()


@dataclass
class TiUEOptim:
    """Adam at a constant rate, after a warm-up.

    Args:
        lr: of the network that is exported.
        lora_lr: of the fake score.
        warmup_steps: linear from 0.
        beta1: first moment decay.
        beta2: second moment decay.
        eps: added to the second moment's root.
        weight_decay: AdamW's.
        grad_clip: norm that each network's gradient is clipped to; 0 is none.
        ema_decay: of the average of weights that is exported; in the first steps less, (1 + step) / (10 + step).
    """

    lr: float = 1e-6
    lora_lr: float = 1e-3
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    ema_decay: float = 0.999


@dataclass
class TiUESettings:
    """Everything `audiokd fit tiue` can be told.

    Args:
        step: pretrain or distill.
        model: of pretrain.
        mel: of pretrain on sounds.
        noising: of pretrain.
        distill: of distill.
        lora: the fake score.
        loss: weights.
        data: prompts and pictures.
        optim: optimiser.
        run: how long and where.
    """

    step: Step = "distill"
    model: UNetShape = field(default_factory=UNetShape)
    mel: MelSettings = field(default_factory=MelSettings)
    noising: Noising = field(default_factory=Noising)
    distill: Distillation = field(default_factory=Distillation)
    lora: LoraSettings = field(default_factory=LoraSettings)
    loss: TiUELoss = field(default_factory=TiUELoss)
    data: TiUEData = field(default_factory=TiUEData)
    optim: TiUEOptim = field(default_factory=TiUEOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=66_500, val_every=1000))
