"""A frozen model that says labels or ratings: one that audiokd exported, or a transformers model with a head of classes.

An encoder of sound or a picture model without a head has states and no labels, which is enough where no logits are learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.data.classes import named
from audiokd.errors import AudiokdError
from audiokd.nn.lengths import length_mask
from audiokd.teachers.auto import FAMILIES
from audiokd.teachers.base import load_pretrained, load_processor, read_family
from audiokd.teachers.picture_body import has_head, is_picture_family, load_picture_body
from audiokd.teachers.student_body import SoundBody, sound_body
from audiokd.vision.transforms import Preprocess, preprocess_of

#: families with a head whose inputs are spectrograms
SPECTRAL = ("audio-spectrogram-transformer", "whisper", "wav2vec2-bert")
WAVEFORMS = (
    "a model whose extractor is Wav2Vec2FeatureExtractor, or losses that need no logits (--loss.kd 0 --loss.dkd 0)"
)
#: what to do where logits are needed and there are none
LOGITS = "a model with a head of classes, or losses that need no logits (--loss.kd 0 --loss.dkd 0)"
FIX = "give a folder that audiokd exported of a classifier, or a transformers model with a head of classes"


class FrozenLabeller(nn.Module):
    """A model out of torch's sight, in eval mode; its weights take no gradient, and gradients pass through its layers.

    Neither `parameters()`, `state_dict()` nor `train()` of what holds it reaches it.

    Args:
        net: audiokd's or transformers'.
        name: of it, for messages.
        processor: transformers' image processor or feature extractor; None of ours.
        head: whether a transformers model has one.

    Attributes:
        kind: "image", "audio" or "ratings".
        labels: of the logits, in their order; none of ratings, and of a model without a head.
        task: "class", "rating", or "" of a model without a head.
        preprocess: of pictures.
        sample_rate: Hz of sound; 0 of others.
    """

    net: Any
    kind: Literal["image", "audio", "ratings"]
    preprocess: Preprocess | None = None
    sample_rate: int = 0

    def __init__(self, net: nn.Module, name: str, processor: Any = None, head: bool = True):
        super().__init__()
        self.__dict__["net"] = net.eval().requires_grad_(False)  # past nn.Module's registry, on purpose
        self.name, self.processor = name, processor
        if isinstance(net, SoundBody):
            self.kind, self.labels, self.task, self.sample_rate = "audio", (), "", net.sample_rate
            return
        config: Any = net.config
        if processor is None:
            self.kind = getattr(net, "kind", "audio")
            self.labels, self.task = tuple(config.labels), getattr(config, "task", "class")
            self.preprocess = getattr(net, "preprocess", None)
            self.sample_rate = getattr(net, "sample_rate", 0)
            return
        self.kind = "image" if hasattr(processor, "image_mean") else "audio"
        self.labels, self.task = (), ""
        if head:
            self.labels, self.task = tuple(config.id2label[i] for i in range(config.num_labels)), "class"
        if self.kind == "image":
            self.preprocess = preprocess_of(processor)
        else:
            self.sample_rate = processor.sampling_rate

    def _apply(self, fn: Any, recurse: bool = True) -> FrozenLabeller:
        self.net._apply(fn)
        return super()._apply(fn, recurse)

    def inputs(self, view: dict[str, Tensor]) -> dict[str, Any]:
        """What the model's forward takes, of `pixel_values`, of `wav` [B, T] and `lengths` [B] at `sample_rate`, or of ratings'."""
        if self.kind != "audio":
            return view
        fewest = getattr(self.net, "min_samples", 1)
        wav, lengths = view["wav"], view["lengths"].clamp(min=fewest)
        wav = F.pad(wav, (0, max(0, fewest - wav.shape[-1])))
        if self.processor is None:
            given: dict[str, Any] = {"wav": wav, "lengths": lengths}
            return {"view": given} if isinstance(self.net, SoundBody) else given
        mask = length_mask(lengths, wav.shape[-1])
        if self.processor.do_normalize:  # of each clip's own samples, as transformers' extractor does it
            n = lengths[:, None]
            mean = (wav * mask).sum(1, keepdim=True) / n
            var = ((wav - mean).square() * mask).sum(1, keepdim=True) / n
            wav = (wav - mean) * (var + 1e-7).rsqrt() * mask
        given = {"input_values": wav}
        # models with a group norm were trained without it
        return given | ({"attention_mask": mask.long()} if self.processor.return_attention_mask else {})

    @staticmethod
    def answer(output: Any) -> Tensor:
        """Logits [B, C], or ratings [B], of what the model's forward gave."""
        return output if isinstance(output, Tensor) else output.logits

    @torch.no_grad()
    def logits(self, view: dict[str, Tensor]) -> Tensor:
        """As of `answer`, without gradients."""
        return self.answer(self.net(**self.inputs(view)))

    def columns_of(self, classes: Sequence[str]) -> list[int]:
        """Where in the logits the classes are.

        Raises:
            AudiokdError: it does not know some.
        """
        number = {label: k for k, label in enumerate(self.labels)}
        if lacking := [c for c in classes if c not in number]:
            what = f"the teacher does not know {len(lacking)} of {len(classes)} classes: {named(lacking)}"
            raise AudiokdError(what, where=self.name, fix="a teacher of these classes, or losses that need no logits")
        return [number[c] for c in classes]


def load_labeller(name: str, logits: bool = True) -> FrozenLabeller:
    """A frozen model by folder or hub id.

    Args:
        name: folder or hub id.
        logits: whether they are needed; where not, an encoder of sound will do (`audiokd.teachers.trainable.load_trainable`),
            whose own front end takes waveforms, and a picture model of transformers.

    Raises:
        AudiokdError: nothing there, not all of its weights, or a model that says neither classes nor ratings.
    """
    from transformers import (
        AutoFeatureExtractor,
        AutoImageProcessor,
        AutoModel,
        AutoModelForAudioClassification,
        AutoModelForImageClassification,
        Wav2Vec2FeatureExtractor,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    )

    family = read_family(name)
    # AST takes transformers' log-mel where its logits are wanted; its states can be had of waveforms by the encoder of ours
    if not logits and (family in SPECTRAL or _headless(name)):
        return FrozenLabeller(sound_body(name), name)
    if family in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES:
        if _headless(name):
            raise AudiokdError(f"a {family} without a head says neither classes nor ratings", where=name, fix=LOGITS)
        net = load_pretrained(AutoModelForAudioClassification, name, "the teacher", FIX)
        processor = load_processor(AutoFeatureExtractor, name)
        if not isinstance(processor, Wav2Vec2FeatureExtractor):
            raise AudiokdError(
                f"a {family} takes spectrograms, and no logits are had of it here", where=name, fix=WAVEFORMS
            )
        return FrozenLabeller(net, name, processor)
    if is_picture_family(family) and not has_head(name):
        if logits:
            raise AudiokdError(f"a {family} without a head says no classes", where=name, fix=LOGITS)
        return FrozenLabeller(
            load_picture_body(name, "the teacher"), name, load_processor(AutoImageProcessor, name), head=False
        )
    if family in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        net = load_pretrained(AutoModelForImageClassification, name, "the teacher", FIX)
        return FrozenLabeller(net, name, load_processor(AutoImageProcessor, name))
    net = load_pretrained(AutoModel, name, "the teacher", FIX)
    task = getattr(net.config, "task", "")
    if not getattr(net, "logit_layers", ()) or task not in ("class", "rating"):
        raise AudiokdError(f"a {family} says neither classes nor ratings", where=name, fix=LOGITS)
    return FrozenLabeller(net, name)


def _headless(name: str) -> bool:
    """Whether a model is an encoder of sound and no more: one of transformers' or ours."""
    from transformers import MODEL_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(name)
    heads = config.architectures or []
    if config.model_type in FAMILIES:
        return bool(heads) and not any("Classification" in of for of in heads)
    return hasattr(MODEL_MAPPING.get(type(config), None), "clip_dim")
