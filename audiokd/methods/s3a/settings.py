"""Configuration of S3A. The defaults are those of its official code for a batch of 128 (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import AdamWSettings, RunSettings
from audiokd.training.views import MediaSettings


@dataclass
class VocabularySettings:
    """The names that an item may have.

    Args:
        source: wordnet, an ontology as AudioSet's, or a list of names.
        path: WordNet's folder or its data.noun; ontology.json; the list.
        size: names that are drawn, all class names among them; 0 is the whole vocabulary.
        classes: list of class names that a draw holds; those of train, dev and test by default.
        templates: of prompts (`audiokd.teachers.text_bank.TEMPLATES`); photo7, or sound, by default.
        bank: vectors of these very names by this very model, as another run's folder has them (text_bank.safetensors).
    """

    source: Literal["wordnet", "ontology", "list"] = "wordnet"
    path: str = ""
    size: int = 0
    classes: str = ""
    templates: str = ""
    bank: str = ""


@dataclass
class StructureSettings:
    """Clusters and their names.

    Args:
        clusters: K; 0 estimates it by silhouettes.
        least: clusters that an estimate has at least.
        most: clusters that it has at most.
        starts: of k-means.
        vote: items vote for their cluster's name; false takes the name nearest to the cluster's centre (ablation).
        rounds: of naming and moving items to the nearest name.
        candidates: names a cluster that phrases are asked for.
        phrases: that an item of the cluster chooses.
        first_refresh: epoch from which on the labels are made anew at each epoch's start.
    """

    clusters: int = 0
    least: int = 50
    most: int = 2000
    starts: int = 17
    vote: bool = True
    rounds: int = 3
    candidates: int = 3
    phrases: int = 3
    first_refresh: int = 2


@dataclass
class PromptSettings:
    """What tells candidate names apart.

    Args:
        source: glosses of the vocabulary; answers of a language model, from a file; none leaves prompt and re-align out (ablation).
        answers: that file; without it, or where it lacks some, the run writes questions.jsonl and stops.
    """

    source: Literal["glosses", "answers", "none"] = "glosses"
    answers: str = ""


@dataclass
class LossSettings:
    """Weights of the two losses; 0 leaves one out.

    Args:
        individual: with the teacher's own name of an item.
        threshold: probability that the teacher's name must have.
        structural: with the name of the item's cluster.
    """

    individual: float = 1.0
    threshold: float = 0.5
    structural: float = 0.25


@dataclass
class EMASettings:
    """The teacher's decay, along a straight line.

    Args:
        first: at the first step.
        last: from `ramp_steps` on.
        ramp_steps: between.
    """

    first: float = 0.999
    last: float = 0.9998
    ramp_steps: int = 2000


@dataclass
class S3AOptimSettings(AdamWSettings):
    """AdamW along a half cosine, with rates that fall towards the input.

    Args:
        layer_decay: rate of a block over that of the block above it.
    """

    lr: float = 1e-5
    min_lr: float = 5e-7
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.05
    grad_clip: float = 0.0
    layer_decay: float = 0.65


@dataclass
class S3ADataSettings(MediaSettings):
    """Pictures or stretches of sound, without labels.

    Args:
        test: what the model will be tested on, so that regime.json says so and no item of it is trained on.
    """

    batch_size: int = 128
    test: str = ""


@dataclass
class S3ASettings:
    """Everything `audiokd fit s3a` can be told.

    Args:
        pair: folder or hub id of a pair model: CLIP, SigLIP, CLAP or LiT.
        vocabulary: names.
        structure: clusters.
        prompt: phrases.
        loss: weights.
        ema: teacher.
        data: views.
        optim: optimiser.
        run: how long and where.
    """

    pair: str = ""
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    structure: StructureSettings = field(default_factory=StructureSettings)
    prompt: PromptSettings = field(default_factory=PromptSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    ema: EMASettings = field(default_factory=EMASettings)
    data: S3ADataSettings = field(default_factory=S3ADataSettings)
    optim: S3AOptimSettings = field(default_factory=S3AOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=30_000))
