"""A codec that others trained, by name: which family it is, its config says."""

from __future__ import annotations

import importlib
from pathlib import Path

from audiokd.teachers.frozen_codec import FrozenCodec

#: transformers' model_type -> tokenizer
CODECS = {
    "dac": "audiokd.teachers.dac:DacTokenizer",
    "encodec": "audiokd.teachers.encodec:EncodecTokenizer",
    "mimi": "audiokd.teachers.mimi:MimiTokenizer",
    "xcodec": "audiokd.teachers.xcodec:XcodecTokenizer",
}


def codec_family(name: str, family: str) -> str:
    """Which of `CODECS` `name` is, of transformers' `family` where it is a folder or hub id; empty where it is none.

    A file that ends in .th is the encodec package's.
    """
    if name.endswith(".th") and Path(name).is_file():
        return "encodec"
    return family if family in CODECS else ""


def load_codec(name: str, family: str) -> FrozenCodec:
    """The tokenizer of a folder, hub id or .th file.

    Raises:
        AudiokdError: it cannot be loaded, or is of a kind that its family's class refuses.
    """
    module, attribute = CODECS[family].split(":")
    return getattr(importlib.import_module(module), attribute).from_pretrained(name)
