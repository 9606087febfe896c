"""A pretrained encoder that is trained on: one of ours, or one of transformers' with its network laid open."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from audiokd.errors import AudiokdError
from audiokd.teachers.auto import ENCODERS, FAMILIES, load_teacher
from audiokd.teachers.base import FrozenTeacher, check_name, load_pretrained
from audiokd.teachers.encoder import TransformersEncoder


class OnEncoder:
    """What a model with an `encoder` from `build_trainable` says of itself."""

    encoder: Any

    @property
    def takes_mel(self) -> bool:
        """Whether the encoder takes a log-mel, which can be mixed and warped; MERT and transformers' encoders take waveforms."""
        return hasattr(self.encoder, "clip_of")

    @property
    def depth(self) -> int:
        """Layers of the encoder."""
        return self.encoder.depth if isinstance(self.encoder, TrainableEncoder) else self.encoder.config.depth

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return self.encoder.sample_rate

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs."""
        return self.encoder.min_samples

    @property
    def max_duration_s(self) -> float | None:
        """Seconds that a clip may have; None is any."""
        return getattr(self.encoder, "max_duration_s", None)

    @property
    def frame_size(self) -> int:
        """Samples a frame of the encoder."""
        return self.encoder.frame_size

    @property
    def frame_rate(self) -> float:
        """Frames a second of the encoder."""
        return self.encoder.frame_rate


class TrainableEncoder(TransformersEncoder):
    """A transformers encoder in the sight of optimisers, checkpoints and `train()`.

    Dropout of the layers is active in training mode; layer drop and SpecAugment of transformers' own forward are not run.

    Args:
        teacher: as `TransformersEncoder` takes it.
        trained: names of the parameters that are trained; all others stay.
    """

    state_dict = nn.Module.state_dict  # type: ignore[assignment]
    parameters = nn.Module.parameters

    def __init__(self, teacher: FrozenTeacher, trained: set[str]):
        super().__init__(teacher)
        self.body = self.net
        #: the norm after the last layer, which all that is used has gone through
        self.last_norm = f"body.{teacher.final_norm}" if teacher.final_norm else ""
        for name, p in self.body.named_parameters():
            p.requires_grad_(name in trained)

    def clip_dim(self, clip_blocks: int) -> int:
        """Size of a clip embedding of the last `clip_blocks` layers."""
        return self.dim * clip_blocks


def shape_of(encoder: Any) -> dict[str, Any]:
    """What `build_trainable` makes `encoder` of, without its weights."""
    shape = {k: v for k, v in encoder.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    if isinstance(encoder, TrainableEncoder):
        shape |= {key: getattr(encoder.teacher, name) for name, key in encoder.teacher.preprocessor.items()}
    return shape


def build_trainable(shape: dict[str, Any]) -> Any:
    """An encoder with random weights.

    Args:
        shape: config of an audiokd encoder or a transformers audio encoder, `model_type` in it, and what the latter's teacher
            takes from its preprocessor.

    Raises:
        AudiokdError: the model is no encoder of sound.
    """
    from transformers import AutoConfig, AutoModel

    kwargs = dict(shape)
    family = kwargs.pop("model_type")
    if family not in FAMILIES:
        config = AutoConfig.for_model(family, **kwargs)
        _check_ours(config)
        return AutoModel.from_config(config)
    module, attribute = FAMILIES[family].split(":")
    teacher = getattr(importlib.import_module(module), attribute)
    options = {name: kwargs.pop(key) for name, key in teacher.preprocessor.items()}
    config = AutoConfig.for_model(family, **kwargs)
    if family == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        net: Any = WhisperEncoder(config)
    else:
        net = AutoModel.from_config(config)
    trained = {name for name, p in net.named_parameters() if p.requires_grad}  # a teacher freezes them
    return TrainableEncoder(teacher(net, layer="normed", **options), trained)


def load_trainable(name: str, **changes: Any) -> Any:
    """A pretrained encoder with its weights.

    Args:
        name: folder or hub id of an audiokd encoder, or of one of transformers' that audiokd knows.
        changes: settings of an audiokd encoder that training wants otherwise, such as drop_path; what it has not is left.

    Raises:
        AudiokdError: it cannot be loaded, or is no encoder of sound.
    """
    from transformers import AutoConfig, AutoModel

    check_name(name)
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as e:
        raise AudiokdError(f"cannot load the encoder: {str(e).splitlines()[0]}", where=name, fix=ENCODERS) from e
    family = config.model_type
    if family not in FAMILIES:
        _check_ours(config, name)
        known = {k: v for k, v in changes.items() if hasattr(config, k)}
        return load_pretrained(AutoModel, name, "the encoder", **known)
    teacher = load_teacher(name, layer="normed")
    net: Any = teacher.net
    frozen = {"embed_positions.weight"} if family == "whisper" else set()  # sinusoids
    return TrainableEncoder(teacher, {n for n, _ in net.named_parameters()} - frozen)


def _check_ours(config: Any, where: str | None = None) -> None:
    """Refuse what is no audiokd encoder, before its weights are read."""
    from transformers import MODEL_MAPPING

    model_class = MODEL_MAPPING.get(type(config), None)
    if not hasattr(model_class, "clip_dim"):
        raise AudiokdError(f"a {config.model_type} model is no encoder that can be trained", where=where, fix=ENCODERS)
