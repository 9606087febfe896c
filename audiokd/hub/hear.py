"""The face of the HEAR benchmark (Turian et al., arXiv 2203.03022; API of 2021) for any audiokd encoder.

    >>> from audiokd.hub import hear  # doctest: +SKIP
    >>> model = hear.load_model("exp/frame/export")  # doctest: +SKIP
    >>> hear.get_scene_embeddings(audio, model).shape  # doctest: +SKIP

`heareval` and `hear-validator` take this module by name: `hear-validator audiokd.hub.hear --model MODEL_DIR`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiokd.errors import AudiokdError


def load_model(model_file_path: str = "") -> Any:
    """An encoder by model folder or hub id, with `sample_rate`, `scene_embedding_size` and `timestamp_embedding_size`.

    Raises:
        AudiokdError: no path, no model there, or one that is no encoder.
    """
    from audiokd.hub.auto import load_for_inference
    from audiokd.teachers.auto import ENCODERS

    if not model_file_path:
        raise AudiokdError("no model given", fix="give the folder of a model that audiokd exported, or a hub id")
    model = load_for_inference(model_file_path)
    if not hasattr(model, "extract_features"):
        raise AudiokdError(f"a {type(model).__name__} is no encoder", where=model_file_path, fix=ENCODERS)
    second = torch.zeros(1, model.sample_rate)
    f = model.extract_features(second)
    model.scene_embedding_size = f.clip.shape[-1]
    model.timestamp_embedding_size = sum(h.shape[-1] for h in f.hidden_states)
    return model


@torch.inference_mode()
def get_scene_embeddings(audio: Tensor, model: Any) -> Tensor:
    """One embedding a sound.

    Args:
        audio: [B, T] at `model.sample_rate`, in [-1, 1].
        model: as `load_model` gives it.

    Returns:
        [B, scene_embedding_size], on the audio's device.
    """
    return _features(audio, model).clip.to(audio.device)


@torch.inference_mode()
def get_timestamp_embeddings(audio: Tensor, model: Any) -> tuple[Tensor, Tensor]:
    """An embedding every frame: all layers side by side.

    Args:
        audio: [B, T] at `model.sample_rate`, in [-1, 1].
        model: as `load_model` gives it.

    Returns:
        Embeddings [B, T', timestamp_embedding_size] and the middle of each frame in milliseconds [B, T'], on the audio's device.
    """
    f = _features(audio, model)
    x = torch.cat(f.hidden_states, -1)
    size = 1000.0 / model.frame_rate
    times = (torch.arange(x.shape[1], dtype=torch.float32) + 0.5) * size
    return x.to(audio.device), times.expand(len(x), -1).to(audio.device)


def _features(audio: Tensor, model: Any) -> Any:
    if audio.ndim != 2:
        raise ValueError(f"audio must be [n_sounds, n_samples], not {list(audio.shape)}")
    return model.extract_features(audio.to(next(model.parameters()).device))
