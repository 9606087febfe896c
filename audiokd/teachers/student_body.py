"""What a student of a pair model is built on: the image side of one, a timm backbone, or an audio encoder, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.deep_prompts import prompted_images
from audiokd.nn.layer_prompts import layer_prompts, layers_of
from audiokd.teachers.pair import ContrastivePair
from audiokd.teachers.pair_media import build_media, copy_media, media_shape
from audiokd.teachers.trainable import build_trainable, load_trainable, shape_of
from audiokd.vision.backbones import Backbone, load_backbone
from audiokd.vision.transforms import Preprocess, preprocess_of

#: encoders whose layers do more than attend and so take no tokens: convolutions over time, positions relative to a neighbour
NOT_PLAIN = ("wavlm", "wav2vec2-bert", "wav2vec2-conformer")


class StudentBody(nn.Module, ABC):
    """A network whose output a head is put on.

    Args:
        shape: what it is built of, plain values: `body` pair, timm or sound, and what its class says.

    Attributes:
        kind: "image" or "audio".
        dim: of the output.
        prompt_layers: layers that take tokens; 0 where none does.
        prompt_dim: size of such a token.
        preprocess: of pictures; None of sound.
    """

    kind: Literal["image", "audio"] = "image"
    dim: int
    prompt_layers: int = 0
    prompt_dim: int = 0
    preprocess: Preprocess | None = None

    def __init__(self, shape: dict[str, Any]):
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """[B, dim] of a batch, with learnt `tokens` [depth, count, prompt_dim] at the first layers.

        Args:
            inputs: `pixel_values` [B, 3, H, W]; or `wav` [B, T] and `lengths` [B] samples.
            tokens: None where there are none.
        """


class PairBody(StudentBody):
    """The image side of a CLIP, SigLIP or LiT, `media`, up to its embedding of length 1."""

    def __init__(self, shape: dict[str, Any], media: ContrastivePair | None = None):
        super().__init__(shape)
        self.media = build_media(shape["media"]) if media is None else media
        net: Any = self.media.net
        self.preprocess, self.dim = Preprocess(**shape["preprocess"]), self.media.dim
        layers = getattr(getattr(net.vision_model, "encoder", None), "layers", ())
        self.prompt_layers = len(layers)
        self.prompt_dim = net.vision_model.config.hidden_size if layers else 0

    def forward(self, inputs: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`."""
        if tokens is not None:
            return prompted_images(self.media.net, inputs["pixel_values"], tokens)
        return self.media.embed_media(inputs)


class TimmBody(StudentBody):
    """A timm backbone, `name`: pooled features."""

    def __init__(self, shape: dict[str, Any], net: Backbone | None = None):
        super().__init__(shape)
        self.net = load_backbone(shape["name"]) if net is None else net
        self.preprocess, self.dim = Preprocess(**shape["preprocess"]), self.net.dim

    def forward(self, inputs: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`."""
        return self.net(inputs["pixel_values"])


class SoundBody(StudentBody):
    """An audio encoder, `encoder`: the clip embedding of its last `clip_blocks` layers."""

    kind = "audio"

    def __init__(self, shape: dict[str, Any], encoder: nn.Module | None = None):
        super().__init__(shape)
        self.encoder: Any = build_trainable(shape["encoder"]) if encoder is None else encoder
        self.dim = self.encoder.clip_dim(shape["clip_blocks"])
        self._layers: Sequence[nn.Module] = ()
        if shape["encoder"]["model_type"] not in NOT_PLAIN:
            self.__dict__["_layers"] = layers_of(self.encoder)  # not a second time among the modules
        self.prompt_layers, self.prompt_dim = len(self._layers), self.encoder.dim

    def forward(self, inputs: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`; a clip that is too short is padded to what the encoder needs."""
        wav, lengths, fewest = inputs["wav"], inputs["lengths"], self.encoder.min_samples
        wav, lengths = F.pad(wav, (0, max(0, fewest - wav.shape[-1]))), lengths.clamp(min=fewest)
        if tokens is None:
            return self.encoder.extract_features(wav, lengths, self.shape["clip_blocks"]).clip
        with layer_prompts(self._layers, tokens):
            return self.encoder.extract_features(wav, lengths, self.shape["clip_blocks"]).clip


BODIES: dict[str, type[StudentBody]] = {"pair": PairBody, "timm": TimmBody, "sound": SoundBody}


def build_body(shape: dict[str, Any]) -> Any:
    """A body with random weights.

    Raises:
        AudiokdError: of no kind that is known.
    """
    if shape.get("body") not in BODIES:
        raise AudiokdError(f"a student's body is one of {', '.join(BODIES)}, not {shape.get('body')}")
    return BODIES[shape["body"]](shape)


def body_of_pair(pair: ContrastivePair) -> PairBody:
    """The image side of a pair model; its weights are copied, and trained where `requires_grad_` says so.

    Raises:
        AudiokdError: a pair model of sound, whose student is an audio encoder.
    """
    if pair.kind != "image":
        fix = "give an audio encoder, one of ours or of transformers"
        raise AudiokdError("a pair model of sound cannot be a student", where=pair.name, fix=fix)
    shape = {"body": "pair", "media": media_shape(pair), "preprocess": asdict(preprocess_of(pair.processor))}
    body = PairBody(shape)
    copy_media(pair, body.media)
    return body


def timm_body(name: str, weights: str = "") -> TimmBody:
    """A timm backbone with weights (`audiokd.vision.backbones.load_backbone`)."""
    net = load_backbone(name, weights)
    return TimmBody({"body": "timm", "name": name, "preprocess": asdict(net.preprocess)}, net)


def sound_body(name: str, clip_blocks: int = 1) -> SoundBody:
    """An audio encoder by folder or hub id (`audiokd.teachers.trainable.load_trainable`)."""
    encoder = load_trainable(name)
    return SoundBody({"body": "sound", "encoder": shape_of(encoder), "clip_blocks": clip_blocks}, encoder)
