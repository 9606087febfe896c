"""A teacher by name: the right family, and errors that name what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BertConfig

from audiokd.errors import AudiokdError
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.whisper import WhisperTeacher


def test_whisper(whisper_dir: Path) -> None:
    teacher = load_teacher(str(whisper_dir), layer=2, window="full", floor="batch")
    assert isinstance(teacher, WhisperTeacher)
    assert (teacher.layer, teacher.window, teacher.log_mel.floor) == (2, "full", "batch")
    assert (teacher.dim, teacher.frame_rate, teacher.sample_rate, teacher.max_duration_s) == (384, 50, 16_000, 30)
    assert load_teacher(str(whisper_dir)).window == "crop"


def test_unknown_family(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(AudiokdError, match=r"a bert model is no teacher .*\n  known families: .*whisper"):
        load_teacher(str(tmp_path))


@pytest.mark.parametrize("name", ["/nowhere", "nowhere", "a/b/c", "./here"])
def test_nothing_there(name: str) -> None:
    with pytest.raises(AudiokdError, match=f"{name}: no such folder"):
        load_teacher(name)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match="cannot read its config"):
        load_teacher(str(tmp_path))
