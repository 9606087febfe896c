"""Configuration of LM-SPT. The defaults are the released 12.5 Hz model and its constants (audio.md C1-C3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audiokd.training.settings import CodecOptimSettings, CropSettings, DiscriminatorSettings, RunSettings


@dataclass
class LMSPTShape:
    """Shape of the model.

    Args:
        sample_rate: of the waveform in and out, Hz.
        encoder_dim: channels of both encoders' first convolution.
        encoder_rates: strides; their product is the frame size in samples (1920 at 24 kHz is 12.5 Hz).
        latent_dim: channels between encoders, quantiser and decoders.
        bottleneck_layers: transformer blocks on the frames of each encoder, 0 for none.
        bottleneck_dim: their width.
        bottleneck_heads: their attention heads.
        attention_window: frames on each side that a frame attends to (causal: before it); null is all of them, and then
            audio longer than `piece_s` is cut into pieces that do not see each other.
        decoder_type: main decoder: dac (transposed convolutions), or vocos (ConvNeXt blocks and an inverse STFT).
        decoder_dim: channels of the main decoder's first convolution; of all of a vocos decoder.
        decoder_rates: its strides; of a vocos decoder, by how much it upsamples the tokens before its inverse STFT.
        decoder_layers: ConvNeXt blocks of a vocos decoder.
        aux_type: auxiliary semantic decoder: dac or vocos.
        aux_dim: channels of its first convolution; of all of a vocos decoder.
        aux_rates: its strides, as decoder_rates.
        aux_layers: its ConvNeXt blocks, if vocos.
        aux_sample_rate: of the sound from semantic tokens alone, Hz.
        causal: everything looks back only, so that streams can be encoded and decoded as they come.
        n_codebooks: all streams.
        n_semantic_codebooks: how many of them, the first ones, are semantic.
        semantic_quantizer: vq (a codebook), or fsq (rounding to fsq_levels; one stream of prod(fsq_levels) codes).
        semantic_codebook_size: codes of a semantic stream, if vq.
        semantic_codebook_dim: dimension of its neighbour search, if vq.
        fsq_levels: levels of each projected channel, if fsq.
        acoustic_codebook_size: codes of an acoustic stream.
        acoustic_codebook_dim: dimension of its neighbour search.
        quantizer_dropout: share of a training batch that uses a random number of acoustic levels.
        quantizer_bypass: probability that a training item's semantic stream goes on unrounded: projected into the codebook's
            dimension and back, not moved onto a code. Both decoders and the acoustic levels then see that.
        semantic_subtraction: take the semantic part off the acoustic latent before it is quantised.
        shared_encoder: one encoder for both; with semantic_subtraction one residual chain as in SpeechTokenizer, without it
            a split quantiser as in Mimi.
        residual_kernel_size: of the residual units.
        dilations: of the residual units.
        pad_to_frame: pad each waveform with zeros to whole frames, T' = ceil(n / frame_size); false is the official floor.
    """

    sample_rate: int = 24000
    encoder_dim: int = 32
    encoder_rates: tuple[int, ...] = (4, 5, 6, 8, 2)
    latent_dim: int = 1024
    bottleneck_layers: int = 0
    bottleneck_dim: int = 512
    bottleneck_heads: int = 8
    attention_window: int | None = 25
    decoder_type: Literal["dac", "vocos"] = "dac"
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (2, 8, 6, 5, 4)
    decoder_layers: int = 12
    aux_type: Literal["dac", "vocos"] = "dac"
    aux_dim: int = 128
    aux_rates: tuple[int, ...] = (8, 8, 5, 4)
    aux_layers: int = 1
    aux_sample_rate: int = 16000
    causal: bool = False
    n_codebooks: int = 8
    n_semantic_codebooks: int = 1
    semantic_quantizer: Literal["vq", "fsq"] = "vq"
    semantic_codebook_size: int = 16384
    semantic_codebook_dim: int = 8
    fsq_levels: tuple[int, ...] = (8, 8, 8, 6, 5)
    acoustic_codebook_size: int = 4096
    acoustic_codebook_dim: int = 8
    quantizer_dropout: float = 0.5
    quantizer_bypass: float = 0.0
    semantic_subtraction: bool = True
    shared_encoder: bool = False
    residual_kernel_size: int = 7
    dilations: tuple[int, ...] = (1, 3, 9)
    pad_to_frame: bool = True


@dataclass
class TeacherSettings:
    """The frozen encoder.

    Args:
        name: hub id or folder of a Whisper, HuBERT or another model that README.md names, or a .hama file.
        layer: features after this encoder layer, or the mean of all; null is the network's output, final norm included.
        window: full pads each clip to 30 s as the paper does; crop runs the encoder over the true length only (all but Whisper).
        floor: log-mel floor from each item's maximum, or the batch's for the rebuilt audio as the official code has it.
    """

    name: str = "openai/whisper-large-v3"
    layer: int | Literal["mean"] | None = None
    window: Literal["full", "crop"] = "full"
    floor: Literal["item", "batch"] = "item"


@dataclass
class DistillSettings:
    """How the semantic stream learns from the teacher.

    Args:
        kind: resynthesis: what the teacher hears in the auxiliary decoder's sound (LM-SPT). pooled: teacher features averaged
            at the token rate (DualCodec, Mimi). time_axis: cosine of each feature channel over time (SpeechTokenizer).
            none: nothing. But for resynthesis, the auxiliary decoder still learns the resynthesis, cut from the
            stream's gradient, so that semantic tokens can be heard; `loss.distill: 0` leaves that out.
        distance: resynthesis takes mse, or l1 as the official code offers; pooled takes mse (DualCodec) or cosine (Mimi).
    """

    kind: Literal["resynthesis", "pooled", "time_axis", "none"] = "resynthesis"
    distance: Literal["mse", "l1", "cosine"] = "mse"


@dataclass
class LossWeights:
    """Weights of the generator's losses (audio.md C3).

    Args:
        mel: multi-scale mel.
        adversarial: least-squares GAN.
        feature_matching: of the discriminators.
        commit_acoustic: commitment of the acoustic levels.
        codebook_acoustic: codebook loss of the acoustic levels.
        commit_semantic: commitment of the semantic stream.
        codebook_semantic: codebook loss of the semantic stream.
        distill: resynthesis distillation with a full window; a crop of c seconds takes c / 30 of it, which keeps its order
            of magnitude; the shorter the crop, the more weakly it distils, since a full window's mean counts its padding.
        feature: feature matching (kind pooled or time_axis); DualCodec has 15 for mse, SpeechTokenizer 120 along time.
    """

    mel: float = 15.0
    adversarial: float = 1.0
    feature_matching: float = 2.0
    commit_acoustic: float = 0.25
    codebook_acoustic: float = 1.0
    commit_semantic: float = 0.25
    codebook_semantic: float = 1.0
    distill: float = 500.0
    feature: float = 15.0


@dataclass
class LMSPTSettings:
    """Everything `audiokd fit lm_spt` can be told.

    Args:
        model: shape of the tokenizer.
        teacher: frozen encoder.
        distill: what is learnt from it.
        loss: weights.
        discriminator: sizes.
        optim: optimisers.
        data: crops.
        run: how long and where.
    """

    model: LMSPTShape = field(default_factory=LMSPTShape)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    loss: LossWeights = field(default_factory=LossWeights)
    discriminator: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    optim: CodecOptimSettings = field(default_factory=CodecOptimSettings)
    data: CropSettings = field(default_factory=CropSettings)
    run: RunSettings = field(default_factory=RunSettings)
