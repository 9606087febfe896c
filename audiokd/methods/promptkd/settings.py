"""Configuration of prompt distillation. The defaults are those of the official code (clip-and-video part 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import MediaSettings, PromptOptimSettings, RunSettings


@dataclass
class StudentSettings:
    """The student. One of `pair`, `backbone` and `encoder` is given.

    Args:
        pair: folder or hub id of a CLIP, SigLIP or LiT, whose image side it is.
        backbone: timm's name of an image network.
        weights: its file, folder or hub id; empty draws them at random.
        size: height and width of the pictures that it sees, pixels; 0 is its own.
        encoder: folder or hub id of an audio encoder, ours or one of transformers'.
        clip_blocks: last layers of the encoder that the clip embedding is made of.
        prompts: tokens of a layer; 0 where the network takes none.
        prompt_depth: layers that have tokens of their own.
        projector_hidden: widths between the network and the teacher's space.
        learns: prompts (and the projector), the projector alone, or all of the student.
    """

    pair: str = ""
    backbone: str = ""
    weights: str = ""
    size: int = 0
    encoder: str = ""
    clip_blocks: int = 1
    prompts: int = 4
    prompt_depth: int = 9
    projector_hidden: tuple[int, ...] = (768,)
    learns: Literal["prompts", "projector", "all"] = "prompts"


@dataclass
class TeacherSettings:
    """Who teaches.

    Args:
        pair: a pair model, or what `audiokd export` wrote of `fit promptsrc`.
        bank: its class vectors; by default those of that export, or, where it has not these very classes (a teacher that learnt on
            another set) or is none, vectors that are made once and kept in the run's folder.
        templates: of a pair model's vectors, a name of `audiokd.teachers.text_bank.TEMPLATES`; prompts have their own text.
    """

    pair: str = ""
    bank: str = ""
    templates: str = "photo7"


@dataclass
class ObjectiveSettings:
    """What of the teacher is learnt.

    Args:
        name: logit_kl, the distribution over classes; or, as in the paper's ablation, feature_l1 or feature_mse, its embeddings.
        temperature: T of logit_kl.
        reduction: of logit_kl: numel divides by items x classes, as the official code, batchmean by items.
        weight: of the loss; officially 1000, and 200 for aircraft, flowers and textures.
    """

    name: Literal["logit_kl", "feature_l1", "feature_mse"] = "logit_kl"
    temperature: float = 1.0
    reduction: Literal["numel", "batchmean"] = "numel"
    weight: float = 1000.0


@dataclass
class UnlabelledSettings(MediaSettings):
    """Items whose labels are not learnt from.

    Args:
        classes: list of all classes; by default classes.txt of the training set.
        per_class: items of each class, drawn by the seed and their labels; 0 takes all.
        view: random view of a picture in training.
        same_names: let several classes have one name, as two pairs of ImageNet's have: no prompt tells these apart.
        test: data dirs that the run is tested on: it does not start where it would see one of their items.
    """

    batch_size: int = 8
    classes: str = ""
    per_class: int = 0
    view: str = "crop"
    same_names: bool = False
    test: tuple[str, ...] = ()


@dataclass
class PromptKDSettings:
    """Everything `audiokd fit promptkd` can be told.

    Args:
        model: the student.
        teacher: its teacher.
        objective: what it learns.
        data: items.
        optim: optimiser.
        run: how long and where.
    """

    model: StudentSettings = field(default_factory=StudentSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    data: UnlabelledSettings = field(default_factory=UnlabelledSettings)
    optim: PromptOptimSettings = field(default_factory=PromptOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=2000, val_every=100, ckpt_every=100))
