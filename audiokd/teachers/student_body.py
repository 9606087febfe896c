"""What a student of a pair model is built on: the media side of one, a timm backbone, or an audio encoder, behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from audiokd.errors import AudiokdError
from audiokd.nn.deep_prompts import prompted_images
from audiokd.nn.layer_prompts import layer_prompts, layers_of
from audiokd.nn.waveforms import check_wav
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
        sample_rate: Hz of sound; 0 of pictures.
        min_samples: that `view_of` needs of sound.
        frame_size: samples a frame of an encoder, or of what one embedding is made of.
        max_duration_s: of sound; None is any.
    """

    kind: Literal["image", "audio"] = "image"
    dim: int
    prompt_layers: int = 0
    prompt_dim: int = 0
    preprocess: Preprocess | None = None
    sample_rate: int = 0
    min_samples: int = 1
    frame_size: int = 1
    max_duration_s: float | None = None

    def __init__(self, shape: dict[str, Any]):
        super().__init__()
        self.shape = shape

    @abstractmethod
    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """[B, dim] of a batch, with learnt `tokens` [depth, count, prompt_dim] at the first layers.

        Args:
            view: `pixel_values` [B, 3, H, W]; `wav` [B, T] and `lengths` [B] samples; or what a pair model of sound makes of them.
            tokens: None where there are none.
        """

    def view_of(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        """What `forward` takes, of pictures [B, 3, H, W] as `preprocess` has them, or of waveforms [B, T] with `lengths` [B]
        samples, all of T by default."""
        if self.kind == "image":
            return {"pixel_values": x}
        return {"wav": x, "lengths": check_wav(x, lengths, x.device)}


class PairBody(StudentBody):
    """The media side of a pair model, `media`, up to its embedding of length 1."""

    def __init__(self, shape: dict[str, Any]):
        super().__init__(shape)
        self.media = build_media(shape["media"])
        self.kind, self.dim, self.sample_rate = self.media.kind, self.media.dim, self.media.sample_rate
        if self.kind == "audio":
            self.frame_size = self.media.window_samples
            return
        self.preprocess = Preprocess(**shape["preprocess"])
        tower: Any = self.media.net.vision_model
        layers = getattr(getattr(tower, "encoder", None), "layers", ())
        self.prompt_layers = len(layers)
        self.prompt_dim = tower.config.hidden_size if layers else 0

    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`."""
        if tokens is not None:
            return prompted_images(self.media.net, view["pixel_values"], tokens)
        return self.media.embed_media(view)

    def view_of(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        """As of `StudentBody`."""
        view = super().view_of(x, lengths)
        if self.kind == "image":
            return view
        return self.media.preprocess([wav[:n] for wav, n in zip(x.cpu(), view["lengths"].tolist())])


class TimmBody(StudentBody):
    """A timm backbone, `name`: pooled features."""

    def __init__(self, shape: dict[str, Any], net: Backbone | None = None):
        super().__init__(shape)
        self.net = load_backbone(shape["name"]) if net is None else net
        self.preprocess, self.dim = Preprocess(**shape["preprocess"]), self.net.dim

    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`."""
        return self.net(view["pixel_values"])


class SoundBody(StudentBody):
    """An audio encoder, `encoder`: the clip embedding of its last `clip_blocks` layers."""

    kind = "audio"

    def __init__(self, shape: dict[str, Any], encoder: nn.Module | None = None):
        super().__init__(shape)
        self.encoder: Any = build_trainable(shape["encoder"]) if encoder is None else encoder
        if hasattr(self.encoder, "mask_embed"):
            self.encoder.mask_embed.requires_grad_(False)  # of pretraining alone
        self.dim = self.encoder.clip_dim(shape["clip_blocks"])
        self._layers: Sequence[nn.Module] = ()
        if shape["encoder"]["model_type"] not in NOT_PLAIN:
            self.__dict__["_layers"] = layers_of(self.encoder)  # not a second time among the modules
        self.prompt_layers, self.prompt_dim = len(self._layers), self.encoder.dim
        self.sample_rate, self.min_samples = self.encoder.sample_rate, self.encoder.min_samples
        self.frame_size = self.encoder.frame_size
        self.max_duration_s = getattr(self.encoder, "max_duration_s", None)

    def forward(self, view: dict[str, Tensor], tokens: Tensor | None = None) -> Tensor:
        """As of `StudentBody`; a clip that is too short is padded to what the encoder needs."""
        wav, lengths, fewest = view["wav"], view["lengths"], self.min_samples
        wav, lengths = F.pad(wav, (0, max(0, fewest - wav.shape[-1]))), lengths.clamp(min=fewest)
        with nullcontext() if tokens is None else layer_prompts(self._layers, tokens):
            return self.encoder.extract_features(wav, lengths, self.shape["clip_blocks"]).clip


class OnBody:
    """What a model with a `body` says of itself to `extract`."""

    body: Any

    @property
    def kind(self) -> Literal["image", "audio"]:
        """What it takes."""
        return self.body.kind

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become `pixel_values`."""
        return self.body.preprocess

    @property
    def encoder(self) -> Any:
        """Of sound, which says in what windows a long recording is heard; None where there is none."""
        return getattr(self.body, "encoder", None)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in; 0 of pictures."""
        return self.body.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs in `extract`; a shorter one in `forward` is padded."""
        return self.body.min_samples

    @property
    def max_duration_s(self) -> float | None:
        """Seconds that a clip may have; None is any."""
        return self.body.max_duration_s

    @property
    def frame_size(self) -> int:
        """Samples a frame of the encoder; of a pair model, which has one embedding a clip, those of its window."""
        return self.body.frame_size

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size


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
    """The media side of a pair model; its weights are copied, and trained where `requires_grad_` says so."""
    seen = asdict(preprocess_of(pair.processor)) if pair.kind == "image" else None
    body = PairBody({"body": "pair", "media": media_shape(pair), "preprocess": seen})
    copy_media(pair, body.media)
    return body


def timm_body(name: str, weights: str = "", size: int = 0) -> TimmBody:
    """A timm backbone with weights (`audiokd.vision.backbones.load_backbone`) that sees pictures of `size` pixels; 0 is its own."""
    net = load_backbone(name, weights)
    return TimmBody({"body": "timm", "name": name, "preprocess": asdict(net.preprocess_at(size))}, net)


def sound_body(name: str, clip_blocks: int = 1, **changes: Any) -> SoundBody:
    """An audio encoder by folder or hub id, with `changes` of its settings (`audiokd.teachers.trainable.load_trainable`)."""
    encoder = load_trainable(name, **changes)
    return SoundBody({"body": "sound", "encoder": shape_of(encoder), "clip_blocks": clip_blocks}, encoder)
