"""A frozen teacher by name: which family it is, the folder's or hub id's config says."""

from __future__ import annotations

import importlib
from typing import Literal

from audiokd.errors import AudiokdError
from audiokd.teachers.base import FrozenTeacher, Layer, check_name

#: transformers' model_type (or hama for a .hama file) -> teacher
FAMILIES = {
    "audio-spectrogram-transformer": "audiokd.teachers.ast:ASTTeacher",
    "data2vec-audio": "audiokd.teachers.ssl:SSLTeacher",
    "hama": "audiokd.teachers.hama:HamaTeacher",
    "hubert": "audiokd.teachers.ssl:SSLTeacher",
    "unispeech": "audiokd.teachers.ssl:SSLTeacher",
    "unispeech-sat": "audiokd.teachers.ssl:SSLTeacher",
    "wav2vec2": "audiokd.teachers.ssl:SSLTeacher",
    "wav2vec2-bert": "audiokd.teachers.w2v_bert:W2VBertTeacher",
    "wav2vec2-conformer": "audiokd.teachers.w2v2_conformer:Wav2Vec2ConformerTeacher",
    "wavlm": "audiokd.teachers.ssl:SSLTeacher",
    "whisper": "audiokd.teachers.whisper:WhisperTeacher",
}

#: what to do where a model is no encoder, or none that is known
ENCODERS = (
    "give a model that audiokd exported, or an encoder of transformers of the families "
    f"{', '.join(family for family in FAMILIES if family != 'hama')}"
)


def load_teacher(
    name: str,
    *,
    layer: Layer = None,
    window: Literal["full", "crop"] = "crop",
    floor: Literal["item", "batch"] = "item",
) -> FrozenTeacher:
    """Load a teacher.

    Args:
        name: hub id or folder of a model of transformers, of one of `FAMILIES`, or a .hama file.
        layer: which hidden state: k is transformers' `hidden_states[k]`, "mean" the mean of all of them, "normed" those
            after each layer, through the model's final norm and side by side, None the model's output.
        window: crop for the clip's true length; full pads to 30 s, which only Whisper does.
        floor: of Whisper's log-mel, from each item's maximum or the batch's.

    Raises:
        AudiokdError: no such model, a family that is not known, or an option that its family does not have.
    """
    family = "hama" if name.endswith(".hama") else _family(name)
    module, attribute = FAMILIES[family].split(":")
    teacher = getattr(importlib.import_module(module), attribute)
    if family == "whisper":
        return teacher.from_pretrained(name, window, floor=floor, layer=layer)
    for option, value, usual in (("window", window, "crop"), ("floor", floor, "item")):
        if value != usual:
            what = f"{option} {value} is Whisper's, and this is a {family} teacher"
            raise AudiokdError(what, where=name, fix=f"use {option} {usual}")
    return teacher.from_pretrained(name, layer=layer)


def _family(name: str) -> str:
    from transformers import AutoConfig

    check_name(name)
    known = f"known families: {', '.join(FAMILIES)}; hama is a .hama file, the others transformers folders or hub ids"
    try:
        family = AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as e:
        raise AudiokdError(f"cannot read its config: {str(e).splitlines()[0]}", where=name, fix=known) from e
    if family not in FAMILIES:
        raise AudiokdError(f"a {family} model is no teacher that audiokd knows", where=name, fix=known)
    return family
