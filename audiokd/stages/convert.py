"""Model folders of other programs to ours and back."""

from __future__ import annotations

from typing import Literal


def convert(what: Literal["whisper_ct2"], src: str, dst: str) -> None:
    """Convert a model folder.

    Args:
        what: whisper_ct2: a CTranslate2 Whisper (as faster-whisper users have) to a transformers folder.
        src: folder to read.
        dst: folder to write.
    """
    from audiokd.teachers.whisper_ct2 import convert_whisper_ct2

    {"whisper_ct2": convert_whisper_ct2}[what](src, dst)
    print(f"{dst}: written")
