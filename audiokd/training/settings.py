"""What every run has in common, as typed configuration. Free of torch, so that a command line is quick to build."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RunSettings:
    """How long, where, and how often.

    Args:
        seed: of weights, batches, crops and dropout.
        max_steps: training steps; a step is one update of every optimiser.
        val_every: steps between validations; best.ckpt is chosen there.
        ckpt_every: steps between writings of last.ckpt.
        log_every: steps between rows of the logs.
        accelerator: cpu, gpu or auto.
        devices: processes on this machine.
        num_nodes: machines.
        strategy: Lightning's strategy; auto picks DDP for several devices.
        precision: Lightning's precision, such as 32-true or bf16-mixed.
    """

    seed: int = 0
    max_steps: int = 100_000
    val_every: int = 1000
    ckpt_every: int = 500
    log_every: int = 50
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"


@dataclass
class CropSettings:
    """Training data as random crops.

    Args:
        crop_s: seconds of a training crop.
        batch_size: crops a device and step.
        num_workers: loader processes a device; the batches are the same whatever it is.
        val_crop_s: seconds from the start of each validation utterance.
        val_utterances: validation utterances used at most.
    """

    crop_s: float = 6.0
    batch_size: int = 8
    num_workers: int = 2
    val_crop_s: float = 6.0
    val_utterances: int = 64


@dataclass
class MediaSettings:
    """Labelled pictures, or crops of labelled sound.

    Args:
        batch_size: items a device and step.
        num_workers: loader processes a device; the batches are the same whatever it is.
        crop_s: seconds of a training stretch of sound.
        val_crop_s: seconds from the start of each validation utterance.
        val_items: of the validation set at most.
    """

    batch_size: int = 32
    num_workers: int = 2
    crop_s: float = 5.0
    val_crop_s: float = 10.0
    val_items: int = 1_000_000


@dataclass
class MaskSettings:
    """Pictures with masks.

    Args:
        batch_size: pictures a device and step.
        num_workers: loader processes a device; the batches are the same whatever it is.
        crop: side of a random training crop, pixels; 0 takes whole pictures, which are then of one size.
        symmetries: turn and mirror training pictures at random.
        val_items: of the validation set at most.
    """

    batch_size: int = 16
    num_workers: int = 2
    crop: int = 256
    symmetries: bool = True
    val_items: int = 1_000_000


@dataclass
class AdamWSettings:
    """AdamW, warmed up, then along a half cosine to the last step.

    Args:
        lr: peak learning rate.
        min_lr: at the end of the cosine.
        warmup_steps: of linear warm-up.
        beta1: first moment decay.
        beta2: second moment decay.
        eps: added to the second moment's root.
        weight_decay: AdamW's; 0.01 is torch's default.
        grad_clip: norm that each network's gradient is clipped to.
    """

    lr: float = 2e-4
    min_lr: float = 5e-5
    warmup_steps: int = 100
    beta1: float = 0.8
    beta2: float = 0.9
    eps: float = 1e-8
    weight_decay: float = 0.01
    grad_clip: float = 1.0


@dataclass
class CodecOptimSettings(AdamWSettings):
    """AdamW for generator and discriminator, with LM-SPT's official constants (its code leaves torch's weight decay).

    Args:
        official_discriminator_lr: as the official code runs, where the discriminator's optimiser gets no rate: constant
            1e-3, torch's default, instead of the generator's schedule.
        revive_after: steps without use after which a code is moved onto a latent of the batch; 0 never, as officially.
    """

    official_discriminator_lr: bool = False
    revive_after: int = 0


@dataclass
class DiscriminatorSettings:
    """Sizes of the discriminators; an empty list leaves that kind out.

    Args:
        periods: of the multi-period discriminator.
        windows: STFT windows of the multi-band discriminator, in samples.
        period_channels: widths of its five layers.
        band_channels: width of each band's layers.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    windows: tuple[int, ...] = (2048, 1024, 512)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    band_channels: int = 64


@dataclass
class SGDSettings:
    """SGD with momentum, warmed up, then along a half cosine; the lower a layer, the smaller its rate.

    Args:
        lr: peak learning rate of the head.
        min_lr: at the end of the cosine.
        warmup_steps: of linear warm-up.
        momentum: of SGD.
        layer_decay: rate of a block over that of the block above it.
        grad_clip: norm that the gradient is clipped to.
    """

    lr: float = 0.5
    min_lr: float = 1e-6
    warmup_steps: int = 100
    momentum: float = 0.9
    layer_decay: float = 0.75
    grad_clip: float = 3.0


@dataclass
class TeachersSettings:
    """Fine-tuned models whose labels are learnt besides the true ones.

    Args:
        models: folders of models of the same labels; their probabilities are averaged.
        logits: feature stores of such models' logits (`audiokd extract`), in place of the models: what they say of the whole
            utterance, without its augmentation.
        weight: their share of the loss.
        training_mode: run the models in training mode, as ATST-C2F's official code does for clips: drop path and batch statistics
            vary.
    """

    models: tuple[str, ...] = ()
    logits: tuple[str, ...] = ()
    weight: float = 0.5
    training_mode: bool = False


@dataclass
class PromptOptimSettings:
    """SGD with momentum, a constant rate first, then a half cosine to 0.

    Args:
        lr: peak learning rate.
        first_lr: of the first steps.
        warmup_steps: with `first_lr`; officially an epoch.
        momentum: of SGD.
        grad_clip: norm that the gradient is clipped to; 0 is none.
    """

    lr: float = 5e-3
    first_lr: float = 1e-5
    warmup_steps: int = 100
    momentum: float = 0.9
    grad_clip: float = 0.0


@dataclass
class SwadSettings:
    """When SWAD's valley of the validation loss begins and ends (training/swad.py).

    Args:
        n_converge: N_s, validations without a lower loss after which it has begun, the lowest counted; 0 averages nothing.
        n_tolerance: N_e, validations in a row above the threshold after which it has ended.
        tolerance: r - 1, how far above the mean of the first N_s losses the threshold is.
    """

    n_converge: int = 3
    n_tolerance: int = 6
    tolerance: float = 0.3
