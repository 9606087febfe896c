"""Model folders of other programs to ours and back."""

from __future__ import annotations

from typing import Literal

from audiokd.errors import ConfigError


def convert(
    what: Literal[
        "whisper_ct2", "lm_spt", "lm_spt_official", "atst", "atst_official", "mert", "dbfad_onnx", "dbfad_pt2"
    ],
    src: str,
    dst: str,
    branch: Literal["teacher", "student"] = "teacher",
    num_heads: int = 0,
    win_length: int = 0,
) -> None:
    """Convert a model.

    Args:
        what: whisper_ct2: a CTranslate2 Whisper (as faster-whisper users have) to a transformers folder. lm_spt: an official
            LM-SPT checkpoint (weights and yaml) to a model folder. lm_spt_official: a model folder to an official
            checkpoint. atst: an official ATST-Clip or ATST-Frame checkpoint file (Lightning's, the first code's, weights only, or
            the bare encoder) to a model folder. atst_official: a model folder to such a file. mert: MERT's Hugging Face folder
            or fairseq checkpoint to a model folder, which transformers' HubertModel loads too. dbfad_onnx, dbfad_pt2: an anomaly
            detector's folder to an ONNX file or a program of torch.export, and FILE.json with preprocessing and thresholds.
        src: folder or file to read.
        dst: folder or file to write.
        branch: atst: which of the two networks of a checkpoint.
        num_heads: atst: of attention; by default the published ones of the encoder's width.
        win_length: atst: of the log-mel's window, samples, where the file does not say; the published ATST-Frame small has 640.

    Raises:
        ConfigError: an option of another conversion.
    """
    options = {"branch": (branch, "teacher"), "num_heads": (num_heads, 0), "win_length": (win_length, 0)}
    given = {k: v for k, (v, usual) in options.items() if v != usual}
    if given and what != "atst":
        raise ConfigError(f"--{next(iter(given))} is an option of 'convert atst', not of 'convert {what}'")
    if what == "whisper_ct2":
        from audiokd.teachers.whisper_ct2 import convert_whisper_ct2 as run
    elif what == "lm_spt":
        from audiokd.methods.lm_spt.convert import convert_lm_spt as run
    elif what == "lm_spt_official":
        from audiokd.methods.lm_spt.convert import convert_lm_spt_official as run
    elif what == "atst":
        from audiokd.methods.atst.convert import convert_atst as run
    elif what == "mert":
        from audiokd.methods.mert.convert import convert_mert as run
    elif what == "dbfad_onnx":
        from audiokd.methods.dbfad.convert import convert_dbfad_onnx as run
    elif what == "dbfad_pt2":
        from audiokd.methods.dbfad.convert import convert_dbfad_pt2 as run
    else:
        from audiokd.methods.atst.convert import convert_atst_official as run
    run(src, dst, **given)
    print(f"{dst}: written")
