"""Configuration of the RVQ-VAE. The defaults are a DAC of MERT's frame rate: 75 Hz, 8 codebooks of 1,024."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiokd.training.settings import CodecOptimSettings, CropSettings, DiscriminatorSettings, RunSettings


@dataclass
class RVQVAEShape:
    """Shape of the codec.

    Args:
        sample_rate: of the waveform in and out, Hz.
        encoder_dim: channels of the encoder's first convolution; each block doubles it.
        rates: strides of the encoder's blocks, the decoder's the other way round; their product is the frame size in samples
            (320 at 24 kHz is 75 Hz).
        latent_dim: channels between encoder, quantiser and decoder.
        decoder_dim: channels of the decoder's first convolution; each block halves it.
        n_codebooks: levels of the quantiser.
        codebook_size: codes of each.
        codebook_dim: dimension of the neighbour search.
        quantizer_dropout: share of a training batch that uses a random number of levels.
        residual_kernel_size: of the residual units.
        dilations: of the residual units.
        causal: a frame hears nothing that comes after it.
    """

    sample_rate: int = 24_000
    encoder_dim: int = 64
    rates: tuple[int, ...] = (2, 4, 5, 8)
    latent_dim: int = 1024
    decoder_dim: int = 1536
    n_codebooks: int = 8
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float = 0.5
    residual_kernel_size: int = 7
    dilations: tuple[int, ...] = (1, 3, 9)
    causal: bool = False


@dataclass
class LossWeights:
    """Weights of the generator's losses, DAC's (arXiv 2306.06546, section 3.4).

    Args:
        mel: multi-scale mel.
        adversarial: least-squares GAN.
        feature_matching: of the discriminators.
        commit: commitment of the levels.
        codebook: codebook loss of the levels.
    """

    mel: float = 15.0
    adversarial: float = 1.0
    feature_matching: float = 2.0
    commit: float = 0.25
    codebook: float = 1.0


@dataclass
class RVQVAESettings:
    """Everything `audiokd fit rvq_vae` can be told.

    Args:
        model: shape of the codec.
        loss: weights.
        discriminator: sizes.
        optim: optimisers.
        data: crops.
        run: how long and where.
    """

    model: RVQVAEShape = field(default_factory=RVQVAEShape)
    loss: LossWeights = field(default_factory=LossWeights)
    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    optim: CodecOptimSettings = field(default_factory=CodecOptimSettings)
    data: CropSettings = field(default_factory=lambda: CropSettings(crop_s=1.0, batch_size=32))
    run: RunSettings = field(default_factory=RunSettings)
