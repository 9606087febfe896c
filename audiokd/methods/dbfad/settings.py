"""Configuration of DBFAD, RD4AD and STFPM. The defaults are DBFAD's official code's where it has them (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import MediaSettings, RunSettings


@dataclass
class DBFADShape:
    """Teacher and student.

    Args:
        kind: dbfad; or a baseline on the same teacher: rd4ad, stfpm.
        backbone: of the teacher, timm's name.
        weights: of that, a file, folder or hub id such as timm/resnet34.a1_in1k; random draws them, as a floor.
        size: of the pictures, pixels a side; twice the stride of the teacher's coarsest map divides it.
        widths: of the student's stages, from the finest map's; left out, those of the teacher's maps. Not of stfpm.
        depths: blocks of the student's stages, from the coarsest map's; left out, two each. Not of stfpm.
        block: of the student: basic, or bottleneck for a teacher that has such.
        residual: DBFAD's residual paths; false is its variant for domain generalisation.
        attention: DBFAD's gates by a softmax over the width; false leaves them out.
    """

    kind: Literal["dbfad", "rd4ad", "stfpm"] = "dbfad"
    backbone: str = "resnet34"
    weights: str = ""
    size: int = 256
    widths: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    block: Literal["basic", "bottleneck"] = "basic"
    residual: bool = True
    attention: bool = True


@dataclass
class DBFADMap:
    """From distances to a map (`audiokd.vision.anomaly_map`).

    Args:
        combine: of levels; own is the product of stfpm and the sum of the others.
        weigh: of levels in a sum; own is area of dbfad and equal of the others.
        sigma: of the Gaussian, pixels; 0 is none.
        align_corners: of the interpolation, as in RD4AD's and STFPM's code.
    """

    combine: Literal["own", "sum", "product"] = "own"
    weigh: Literal["own", "equal", "area"] = "own"
    sigma: float = 4.0
    align_corners: bool = False


@dataclass
class DBFADLoss:
    """The distance of the maps.

    Args:
        name: pixel, cell by cell (the papers); flat, each map as one vector (RD4AD's code, by which its published numbers were
            made).
        items: mean over the batch, or, as in DBFAD's code, sum. Not of flat.
    """

    name: Literal["pixel", "flat"] = "pixel"
    items: Literal["mean", "sum"] = "mean"


@dataclass
class DBFADData(MediaSettings):
    """Normal pictures.

    Args:
        batch_size: pictures a device and step.
        category: domain that is learnt; empty is all there are, a mixture.
        leave_out: domain that is not looked at: what the variant for domain generalisation is tested on.
        test: data dirs that the run is tested on; one that holds a picture of training or selection stops it.
        hold_out: share of every domain's pictures that the model is selected by, where --dev is the folder of --train. Another
            --dev is used as a whole, and --train too.
        quantile: of the scores of held-out pictures, and of their pixels: the thresholds of the exported model.
    """

    batch_size: int = 4
    category: str = ""
    leave_out: str = ""
    test: tuple[str, ...] = ()
    hold_out: float = 0.3
    quantile: float = 0.99


@dataclass
class DBFADQuirks:
    """What the official code of DBFAD does and its paper does not say.

    Args:
        blur: pictures of training and selection go through a Gaussian of 3 x 3; those that are tested do not.
        eval_after_val: the student stays in eval mode from the first validation on: batch norm has stood still since.
    """

    blur: bool = False
    eval_after_val: bool = False


@dataclass
class DBFADOptim:
    """Adam or SGD, slower where the validation loss stands still.

    Args:
        name: adam (DBFAD, RD4AD), or sgd (STFPM).
        lr: learning rate.
        beta1: first moment decay of Adam.
        beta2: second moment decay of Adam.
        momentum: of SGD.
        weight_decay: added to the gradient.
        patience: validations without a lower loss after which the rate is multiplied by `factor`; 0 leaves it.
        factor: see patience.
        stop_patience: validations in a row without a lower loss after which the run ends, as DBFAD's code has it; 0 goes on to
            `run.max_steps`.
    """

    name: Literal["adam", "sgd"] = "adam"
    lr: float = 5e-3
    beta1: float = 0.9
    beta2: float = 0.999
    momentum: float = 0.9
    weight_decay: float = 0.0
    patience: int = 5
    factor: float = 0.1
    stop_patience: int = 10


@dataclass
class DBFADSettings:
    """Everything `audiokd fit dbfad` can be told.

    Args:
        model: teacher and student.
        map: from distances to a map.
        loss: what is learnt.
        data: normal pictures.
        quirks: of the official code.
        optim: optimiser.
        run: how long and where.
    """

    model: DBFADShape = field(default_factory=DBFADShape)
    map: DBFADMap = field(default_factory=DBFADMap)
    loss: DBFADLoss = field(default_factory=DBFADLoss)
    data: DBFADData = field(default_factory=DBFADData)
    quirks: DBFADQuirks = field(default_factory=DBFADQuirks)
    optim: DBFADOptim = field(default_factory=DBFADOptim)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=5000, val_every=50, ckpt_every=50))
