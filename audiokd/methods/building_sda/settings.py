"""Configuration of building extraction. The paper's values were not read: defaults are its authors' later code's (README.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from audiokd.losses.mask_loss import MaskLoss
from audiokd.training.settings import MaskSettings, RunSettings

#: pretrain: learn from labels, large and noisy ones in the paper, from an encoder's weights
#: adapt: go on from all weights of a model that was pretrained, on small and clean labels
#: kd: learn from labels and from what a frozen teacher says of the same pictures
#: dml: two peers learn from labels and from one another
Step: TypeAlias = Literal["pretrain", "adapt", "kd", "dml"]
Network: TypeAlias = Literal[
    "", "unet", "unetplusplus", "unet3plus", "linknet", "pspnet", "fpn", "deeplabv3plus", "manet"
]


@dataclass
class NetworkShape:
    """A network.

    Args:
        network: left out, unet.
        encoder: timm's name, or segmentation_models_pytorch's "tu-" and that.
        weights: of the encoder, a file, folder or hub id; empty draws them at random.
        init: folder of an exported model, whose network and all weights it begins with, in place of the three above.
    """

    network: Network = ""
    encoder: str = ""
    weights: str = ""
    init: str = ""


@dataclass
class BuildingTeacher:
    """Of kd.

    Args:
        model: folder of an exported model.
    """

    model: str = ""


@dataclass
class BuildingLoss:
    """The losses.

    Args:
        name: of the labels (`audiokd.losses.mask_loss`).
        gamma: of focal.
        alpha: of tversky, the weight of a false positive.
        beta: of tversky, of a false negative.
        share: of kd, the teacher's part of the loss; the labels have the rest.
        temperature: of kd and dml.
        mutual: of dml, weight of the divergence from the peer beside the labels' loss.
    """

    name: MaskLoss = "dice"
    gamma: float = 2.0
    alpha: float = 0.3
    beta: float = 0.7
    share: float = 0.5
    temperature: float = 2.0
    mutual: float = 1.0


@dataclass
class BuildingData(MaskSettings):
    """Pictures with masks.

    Args:
        test: data dirs that the model is tested on; a run that would see one of their pictures does not start.
    """

    test: tuple[str, ...] = ()


@dataclass
class BuildingOptim:
    """The optimiser.

    Args:
        name: of it.
        lr: learning rate, the highest one of a schedule.
        weight_decay: added to the gradient.
        momentum: of sgd and rmsprop.
        schedule: plateau divides the rate when the validation IoU has not grown; slanted_triangular is ULMFiT's; or constant.
        patience: of plateau, validations in a row without a better one that are let go; 0 leaves the rate as it is.
        factor: of plateau, what the rate is multiplied by.
        block_decay: rate of an encoder's stage over that of the one after it, decoder and head having the whole: discriminative
            rates; 1 is one rate for all.
        grad_clip: norm that the gradient is clipped to; 0 is none.
    """

    name: Literal["adam", "sgd", "rmsprop", "adagrad", "nadam"] = "adam"
    lr: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["plateau", "slanted_triangular", "constant"] = "plateau"
    patience: int = 5
    factor: float = 0.1
    block_decay: float = 1.0
    grad_clip: float = 0.0


@dataclass
class Unfreezing:
    """Gradual unfreezing, of adapt: decoder and head learn first, then the encoder's stages too, the deepest ones first.

    Args:
        phase_steps: steps until the next stage learns; 0 lets all learn from the first step.
    """

    phase_steps: int = 0


@dataclass
class BuildingSettings:
    """Everything `audiokd fit building_sda` can be told.

    Args:
        step: pretrain, adapt, kd or dml.
        model: the network; of kd the student.
        peer: of dml, the other network.
        teacher: of kd.
        loss: losses and their weights.
        data: pictures.
        optim: optimiser.
        unfreeze: of adapt.
        run: how long and where.
    """

    step: Step = "pretrain"
    model: NetworkShape = field(default_factory=NetworkShape)
    peer: NetworkShape = field(default_factory=NetworkShape)
    teacher: BuildingTeacher = field(default_factory=BuildingTeacher)
    loss: BuildingLoss = field(default_factory=BuildingLoss)
    data: BuildingData = field(default_factory=BuildingData)
    optim: BuildingOptim = field(default_factory=BuildingOptim)
    unfreeze: Unfreezing = field(default_factory=Unfreezing)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=20_000, val_every=400))
