"""Configuration of VL2V. The defaults are the official code's where it has them (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from audiokd.training.settings import MediaSettings, RunSettings, SwadSettings

#: align: train the projection, the backbone is frozen
#: distill: train the backbone from an align run's export, the projection is frozen
#: sd: VL2V-SD, train a copy of the pair model's own tower against the frozen original
#: erm: labels alone, cross-entropy of a linear head, no teacher
#: kd: naive distillation, cross-entropy of a linear head and KL to the teacher's zero-shot logits
#: cosine: backbone and projection at once, to the teacher's embeddings alone
Step: TypeAlias = Literal["align", "distill", "sd", "erm", "kd", "cosine"]


@dataclass
class VL2VShape:
    """The student.

    Args:
        backbone: of pictures, timm's name.
        weights: of that, a file, folder or hub id; empty draws them at random.
        size: of the pictures that it sees, pixels; 0 is the size that its weights were trained on.
        encoder: of sound, folder or hub id of a pretrained encoder, ours or one of transformers'.
        clip_blocks: last blocks of the encoder that the clip embedding is made of.
        aligned: of distill, folder of an align run's export, which is the student.
        freeze_bn: batch norm of the backbone keeps its running statistics, as in DomainBed; its weights are trained all the same.
    """

    backbone: str = ""
    weights: str = ""
    size: int = 0
    encoder: str = ""
    clip_blocks: int = 1
    aligned: str = ""
    freeze_bn: bool = True


@dataclass
class VL2VTeacher:
    """A pair model, or what one said.

    Args:
        pair: folder or hub id of a CLIP, SigLIP or CLAP, which is given the augmented view; but for sd its embeddings alone are
            used.
        embeddings: store of embeddings of the plain items, in its place.
        bank: file of class vectors (`audiokd.teachers.text_bank`); left out, the pair's text encoder makes them.
        templates: prompts of those (photo, photo7, sound, name); left out, photo of pictures and sound of sound.
        preprocess: own, the same crop by the pair's own preprocessing; student, the very tensor that the student is given, with
            its mean and std, as in the official code.
    """

    pair: str = ""
    embeddings: str = ""
    bank: str = ""
    templates: str = ""
    preprocess: Literal["own", "student"] = "own"


@dataclass
class VL2VLoss:
    """The losses.

    Args:
        share: lambda of align, distill and sd, the share of the image embedding; the rest is the text's.
        temperature: of kd.
    """

    share: float = 0.5
    temperature: float = 1.0


@dataclass
class VL2VData(MediaSettings):
    """Items with labels and domains; `batch_size` of every domain are in a batch.

    Args:
        leave_out: domain that is tested on: no step looks at it.
        view: random view of a training picture (`audiokd.vision.transforms`).
        hold_out: share of every domain's items that the model is selected by, where --dev is the folder of --train. Another
            --dev is used as a whole, and --train too.
        gain_db: stretches of sound are made so much louder or softer at most.
        snr_db: white noise is at least so much softer than a stretch of sound; null adds none.
    """

    leave_out: str = ""
    view: Literal["domainbed", "unflipped"] = "domainbed"
    hold_out: float = 0.2
    gain_db: float = 6.0
    snr_db: float | None = 20.0


@dataclass
class VL2VOptim:
    """Adam at a constant rate.

    Args:
        lr: learning rate.
        weight_decay: added to the gradient.
    """

    lr: float = 5e-5
    weight_decay: float = 0.0


@dataclass
class VL2VSettings:
    """Everything `audiokd fit vl2v` can be told.

    Args:
        step: align, distill, sd (VL2V-SD), or a baseline: erm, kd, cosine.
        model: the student.
        teacher: the pair model.
        loss: weights and temperature.
        data: items.
        optim: optimiser.
        swad: weights averaged along a valley of the validation loss.
        run: how long and where.
    """

    step: Step = "align"
    model: VL2VShape = field(default_factory=VL2VShape)
    teacher: VL2VTeacher = field(default_factory=VL2VTeacher)
    loss: VL2VLoss = field(default_factory=VL2VLoss)
    data: VL2VData = field(default_factory=VL2VData)
    optim: VL2VOptim = field(default_factory=VL2VOptim)
    swad: SwadSettings = field(default_factory=SwadSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=5001, val_every=200))
