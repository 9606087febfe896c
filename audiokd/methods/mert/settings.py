"""Configuration of MERT. The defaults are the published 95M model and its pretraining (audio.md B1-B5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiokd.training.settings import AdamWSettings, CropSettings, RunSettings

#: Hz that MERT hears
SAMPLE_RATE = 24_000


@dataclass
class MERTShape:
    """Shape of the encoder, HuBERT's at 24 kHz.

    Args:
        sample_rate: Hz of the waveform.
        dim: width.
        depth: transformer layers.
        heads: of attention.
        hidden: width of the feed-forward layers.
        pre_norm: norms before each branch (the published 330M), not after its sum (95M).
        channels: of the seven convolutions.
        dropout: of branches, and after the projection of the convolutions.
        attention_dropout: of attention weights.
        activation_dropout: of the feed-forward layers' hidden values.
        layerdrop: probability that a layer is left out in training.
        relax: attention relaxation: scores are divided by it until they are in the softmax's own precision (330M has 32).
        deepnorm: DeepNorm's skip paths and first weights; only with norms after the branches. The published models have none.
        normalize: give each waveform mean 0 and variance 1; pretraining never did, MARBLE's probes do.
        norm_padding: let the first layer's norm run over padding, as officially: an item then depends on its batch.
        chunk_s: longer audio is run in stretches of so many seconds, which do not see each other.
    """

    sample_rate: int = SAMPLE_RATE
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    pre_norm: bool = False
    channels: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    layerdrop: float = 0.05
    relax: float = 1.0
    deepnorm: bool = False
    normalize: bool = False
    norm_padding: bool = False
    chunk_s: float = 30.0


@dataclass
class TeacherSettings:
    """What is to be predicted at frames that are hidden. At least one of the three.

    Args:
        codes: folder or hub id of a tokenizer of the encoder's frame rate: an EnCodec, Mimi, DAC or X-Codec, an RVQ-VAE
            that `audiokd fit rvq_vae` trained, or k-means from `audiokd kmeans`. Its codes are made in the step, from the
            clean crop.
        stored_codes: token store that `audiokd tokenize` wrote with such a tokenizer, in its place; where `codes` is given
            too, the store has to be of that tokenizer and of this audio.
        cqt: magnitudes of a constant-Q transform.
        cqt_fmin: Hz of its lowest bin.
        cqt_bins: how many.
        cqt_bins_per_octave: of them in an octave.
    """

    codes: str = ""
    stored_codes: str = ""
    cqt: bool = True
    cqt_fmin: float = 32.7
    cqt_bins: int = 336
    cqt_bins_per_octave: int = 48


@dataclass
class LossSettings:
    """Weights of the losses; the mean over hidden frames of each codebook's cross-entropy counts 1.

    Args:
        features: mean square of the convolutions' output.
        cqt: mean square error of the constant-Q magnitudes.
        temperature: that cosines with the codes' embeddings are divided by.
        out: size of these embeddings (330M has 128).
    """

    features: float = 10.0
    cqt: float = 1.0
    temperature: float = 0.1
    out: int = 64


@dataclass
class MaskSettings:
    """Which frames the transformer does not see.

    Args:
        share: of the frames that the spans would hide if they did not overlap; 0.8 of spans of 5 hide 0.58.
        length: frames of a span.
    """

    share: float = 0.8
    length: int = 5


@dataclass
class MixtureSettings:
    """In-batch noise mixture: stretches of other clips of the batch added to a clip.

    Args:
        probability: that a clip gets any; 0 mixes nothing.
        most: stretches a clip at most.
        shortest: seconds of a stretch.
        longest: seconds (330M has 1.5).
    """

    probability: float = 0.5
    most: int = 3
    shortest: float = 0.5
    longest: float = 1.0


@dataclass
class MERTOptimSettings(AdamWSettings):
    """AdamW, warmed up, then along a straight line to the last step, as fairseq's polynomial decay of power 1.

    Args:
        lr: peak learning rate (330M has 1.5e-3).
        min_lr: at the last step.
        warmup_steps: of linear warm-up.
        beta1: first moment decay.
        beta2: second moment decay.
        eps: added to the second moment's root.
        weight_decay: on everything.
        grad_clip: norm that the gradient is clipped to (330M has 1).
        feature_grad: what the gradient into the convolutions is multiplied by (330M has 1).
    """

    lr: float = 5e-4
    min_lr: float = 0.0
    warmup_steps: int = 32_000
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    weight_decay: float = 0.01
    grad_clip: float = 10.0
    feature_grad: float = 0.1


@dataclass
class MERTSettings:
    """Everything `audiokd fit mert` can be told.

    Args:
        model: shape of the encoder.
        teacher: targets.
        loss: weights.
        mask: hidden frames.
        mixture: noise.
        data: training crops.
        optim: optimiser.
        run: how long and where.
    """

    model: MERTShape = field(default_factory=MERTShape)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    data: CropSettings = field(default_factory=lambda: CropSettings(crop_s=5.0, batch_size=16))
    optim: MERTOptimSettings = field(default_factory=MERTOptimSettings)
    run: RunSettings = field(default_factory=lambda: RunSettings(max_steps=400_000))
