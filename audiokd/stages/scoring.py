"""What the stages that score share: the JSON file with its table beside it, and whether the teacher is the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audiokd.errors import ConfigError
from audiokd.files import write_json, write_text


def check_options(out: str, asr: str = "", teacher: str = "") -> None:
    """That a score can be written to `out`, and that a teacher has an ASR to be held against.

    Raises:
        ConfigError: `out` is the table's name, or there is a teacher and no ASR.
    """
    if teacher and not asr:
        raise ConfigError("--teacher says whether the ASR is the teacher: it needs --asr", fix="give both, or neither")
    if Path(out).suffix == ".md":
        raise ConfigError("out is the JSON file; the table is written beside it", where=out, fix="--out <name>.json")


def teacher_scores(asr: str, teacher: str) -> bool:
    """Whether the ASR that reads the audio is the model that taught: folders or hub ids, empty for none."""
    from audiokd.eval.asr import same_model

    return bool(asr and teacher) and same_model(asr, teacher)


def write_score(out: str, result: dict[str, Any], tables: str) -> None:
    """Write `result` to the JSON file `out`, and `tables` (markdown) beside it with the suffix .md."""
    write_json(out, result)
    write_text(Path(out).with_suffix(".md"), tables)
