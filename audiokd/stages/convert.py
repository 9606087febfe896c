"""Model folders of other programs to ours and back."""

from __future__ import annotations

from typing import Literal


def convert(what: Literal["whisper_ct2", "lm_spt", "lm_spt_official"], src: str, dst: str) -> None:
    """Convert a model folder.

    Args:
        what: whisper_ct2: a CTranslate2 Whisper (as faster-whisper users have) to a transformers folder. lm_spt: an official
            LM-SPT checkpoint (weights and yaml) to a model folder. lm_spt_official: a model folder to an official checkpoint.
        src: folder to read.
        dst: folder to write.
    """
    if what == "whisper_ct2":
        from audiokd.teachers.whisper_ct2 import convert_whisper_ct2 as run
    elif what == "lm_spt":
        from audiokd.methods.lm_spt.convert import convert_lm_spt as run
    else:
        from audiokd.methods.lm_spt.convert import convert_lm_spt_official as run
    run(src, dst)
    print(f"{dst}: written")
