"""Configuration of fine-tuning for sound events. The defaults are ATST-Frame's official ones on DESED (audio.md A6), and the
DCASE 2021 task 4 baseline's where unlabelled clips come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import CropSettings, RunSettings, SGDSettings, TeachersSettings


@dataclass
class DetectorShape:
    """The model.

    Args:
        encoder: folder or hub id of a pretrained encoder, ours or one of transformers'.
        drop_path: of the encoder's last block in training; blocks that are not trained have none.
    """

    encoder: str = ""
    drop_path: float = 0.1


@dataclass
class MeanTeacherSettings:
    """The student's moving average, which it should agree with.

    Args:
        when: unlabelled, where there are unlabelled clips; always; or never.
        weight: of the squared difference, at the end of its ramp.
        ramp_steps: over which the weight rises along exp(-5 (1 - t)^2); the baseline's are a quarter of its run.
        ema: decay of the average a step; less in the first steps.
        exported: whose score picks best.ckpt, and whose weights are exported: the student's or the mean's.
    """

    when: Literal["unlabelled", "always", "never"] = "unlabelled"
    weight: float = 2.0
    ramp_steps: int = 2500
    ema: float = 0.999
    exported: Literal["student", "mean"] = "student"


@dataclass
class EventAugmentSettings:
    """What is done to the log-mel of training crops; neither moves a label in time.

    Args:
        mixup: a of Beta(a, a), by which a crop and its labels are mixed with another's of the same kind; 0 mixes nothing.
            Unlabelled crops stay as they are.
        warp: stretch or squeeze the mel axis; what the mean teacher hears stays as it is.
    """

    mixup: float = 0.2
    warp: bool = False


@dataclass
class EventCropSettings(CropSettings):
    """Training crops with labels of three kinds. A kind that no utterance is of takes no part.

    Args:
        events: data dirs or files with events.tsv: strongly labelled utterances, of the training and the validation set.
        labels: data dirs or files with utt2label: weakly labelled ones. One with events and labels has the events.
        test: INPUTs that are tested on; a run that would see one of their utterances does not start.
        batch_strong: strongly labelled crops a device and step.
        batch_weak: weakly labelled ones.
        batch_unlabelled: those without a label.
        batch_size: validation crops at once.
    """

    crop_s: float = 10.0
    batch_size: int = 24
    val_crop_s: float = 10.0
    val_utterances: int = 2500
    events: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    batch_strong: int = 12
    batch_weak: int = 12
    batch_unlabelled: int = 24


@dataclass
class DetectorOptim(SGDSettings):
    """SGD, as `SGDSettings` has it.

    Args:
        unfreeze: last blocks of the encoder that are trained, with the norm after them; 0 the head alone, -1 everything.
    """

    lr: float = 0.1
    layer_decay: float = 1.0
    unfreeze: int = 1


@dataclass
class DetectionLossSettings:
    """Weights of the loss.

    Args:
        weak: of the clip predictions of weakly labelled clips, beside the strongly labelled frames.
    """

    weak: float = 1.0


@dataclass
class DetectorSettings:
    """Everything `audiokd fit detector` can be told.

    Args:
        model: encoder.
        loss: weights.
        mean_teacher: what unlabelled clips are learnt from.
        teachers: models that were fine-tuned before, whose frames are learnt as well.
        augment: of the training crops.
        data: crops and labels.
        optim: optimiser.
        run: how long and where.
    """

    model: DetectorShape = field(default_factory=DetectorShape)
    loss: DetectionLossSettings = field(default_factory=DetectionLossSettings)
    mean_teacher: MeanTeacherSettings = field(default_factory=MeanTeacherSettings)
    teachers: TeachersSettings = field(default_factory=TeachersSettings)
    augment: EventAugmentSettings = field(default_factory=EventAugmentSettings)
    data: EventCropSettings = field(default_factory=EventCropSettings)
    optim: DetectorOptim = field(default_factory=DetectorOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=10_000))
