"""audiokd: teachers, students and tokens for speech and audio.

Importing audiokd imports no torch; the first call of a function does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiokd.errors import AudiokdError
from audiokd.hub.auto import load_model, load_tokenizer, register_lazily

if TYPE_CHECKING:
    from audiokd.stages.extract import extract as extract_features
    from audiokd.stages.tokenize import tokenize
    from audiokd.tokens.store import open_store

__version__ = "0.1.0"
__all__ = ["AudiokdError", "extract_features", "load_model", "load_tokenizer", "open_store", "tokenize"]

register_lazily()

_LAZY = {
    "extract_features": "audiokd.stages.extract:extract",
    "open_store": "audiokd.tokens.store:open_store",
    "tokenize": "audiokd.stages.tokenize:tokenize",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        module, attribute = _LAZY[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'audiokd' has no attribute {name!r}")
