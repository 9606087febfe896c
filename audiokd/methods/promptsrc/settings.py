"""Configuration of prompt learning. The defaults are those of PromptKD's teacher, a ViT-L/14 (clip-and-video part 1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiokd.training.settings import MediaSettings, PromptOptimSettings, RunSettings


@dataclass
class PromptSettings:
    """The pair model and its prompts.

    Args:
        pair: folder or hub id of a CLIP, SigLIP, CLAP or LiT.
        context: what a text begins with; learnt tokens take the place of its words and begin as these are.
        text_depth: layers of the text tower that have tokens of their own.
        visual_count: tokens of a layer of the image tower.
        visual_depth: layers of the image tower that have tokens of their own; 0 for towers that take none (a CNN, CLAP's).
        offset: learn a vector that is added to every text's, where the text tower is to stay as it is (text_depth 0).
        templates: of the frozen model's class vectors: a name of `audiokd.teachers.text_bank.TEMPLATES`.
    """

    pair: str = ""
    context: str = "a photo of a"
    text_depth: int = 9
    visual_count: int = 4
    visual_depth: int = 9
    offset: bool = False
    templates: str = "photo7"


@dataclass
class ShotSettings(MediaSettings):
    """A few labelled items of each class.

    Args:
        classes: list of all classes; by default classes.txt of the training set.
        base_only: learn from the first half of the classes alone (base to novel).
        shots: of each class, drawn by the seed; 0 takes all.
        view: random view of a picture in training.
        same_names: let several classes have one name, as two pairs of ImageNet's have: no prompt tells these apart.
        test: data dirs that the run is tested on: it does not start where it would learn from one of their items.
    """

    batch_size: int = 8
    classes: str = ""
    base_only: bool = True
    shots: int = 16
    view: str = "crop"
    same_names: bool = False
    test: tuple[str, ...] = ()


@dataclass
class WeightSettings:
    """Weights of the terms that keep prompts near the frozen model; that of the cross-entropy is 1.

    Args:
        text: L1 of class vectors.
        image: L1 of the items' embeddings.
        logits: KL of the logits, over all elements.
    """

    text: float = 25.0
    image: float = 10.0
    logits: float = 1.0


@dataclass
class AverageSettings:
    """Gaussian averaging of the prompts over the run, which is what it ends with.

    Args:
        points: at which the prompts are taken, evenly spaced, the last at the end; 0 keeps the last prompts. Officially epochs.
        mean: of the Gaussian, as a share of the run: 15 of 20 epochs.
        std: of the Gaussian, likewise: 1 of 20.
    """

    points: int = 20
    mean: float = 0.75
    std: float = 0.05


@dataclass
class PromptSRCSettings:
    """Everything `audiokd fit promptsrc` can be told.

    Args:
        model: pair model and prompts.
        weights: of the loss.
        average: of the prompts.
        data: items.
        optim: optimiser.
        run: how long and where.
    """

    model: PromptSettings = field(default_factory=PromptSettings)
    weights: WeightSettings = field(default_factory=WeightSettings)
    average: AverageSettings = field(default_factory=AverageSettings)
    data: ShotSettings = field(default_factory=ShotSettings)
    optim: PromptOptimSettings = field(default_factory=PromptOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=2000, val_every=100, ckpt_every=100))
