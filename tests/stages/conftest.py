"""A model of two steps, a small corpus and its tokens, made once for all tests of the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from audiokd.cli import main
from audiokd.hub.auto import load_tokenizer
from audiokd.stages.tokenize import tokenize


@pytest.fixture(scope="session")
def exp(two_cities: Path, whisper_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the debug model, exported before (untrained) and after (last)."""
    root = tmp_path_factory.mktemp("exp")
    for name, row in (("train", "a two_cities 0 4\nb two_cities 4 8\n"), ("dev", "c two_cities 8 10\n")):
        (root / name).mkdir()
        (root / name / "wav.scp").write_text(f"two_cities {two_cities}\n")
        (root / name / "segments").write_text(row)
    options = f"fit lm_spt --config lm_spt/debug --teacher.name {whisper_dir} --run.accelerator cpu --run.max_steps 2"
    io = ["--train", str(root / "train"), "--dev", str(root / "dev"), "--exp_dir", str(root / "exp")]
    main([*options.split(), *io])
    for name, checkpoint in (("untrained", "init"), ("last", "last"), ("best", "best")):
        main(["export", str(root / "exp"), str(root / name), "--checkpoint", checkpoint])
    return root


@pytest.fixture(scope="session")
def model_dir(exp: Path) -> str:
    return str(exp / "untrained")


@pytest.fixture(scope="session")
def model(model_dir: str) -> Any:
    return load_tokenizer(model_dir)


@pytest.fixture(scope="session")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data dir with segments of 16-bit, 24-bit, float (peak 2), ogg and mp3 recordings; a folder wav/ beside it."""
    root = tmp_path_factory.mktemp("corpus")
    x, rate = sf.read(two_cities, dtype="float32", start=2 * 48000, frames=5 * 48000)
    (root / "wav").mkdir()
    (root / "data").mkdir()
    sf.write(root / "wav" / "a16.wav", x, rate)
    sf.write(root / "wav" / "b24.wav", x * np.float32(0.7654321), rate, subtype="PCM_24")
    sf.write(root / "wav" / "cfloat.wav", x / np.abs(x).max() * 2, rate, subtype="FLOAT")
    sf.write(root / "wav" / "d.ogg", x, rate)
    sf.write(root / "wav" / "e.mp3", x, rate)
    files = sorted((root / "wav").iterdir())
    (root / "data" / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in files))
    rows = [f"{p.stem}-{i} {p.stem} {a} {b}\n" for p in files for i, (a, b) in enumerate([(0, 1.3), (1.3, 2), (2, -1)])]
    (root / "data" / "segments").write_text("".join(rows))
    (root / "data" / "text").write_text("".join(f"{r.split()[0]} WORDS OF {r.split()[0]}\n" for r in rows))
    return root


@pytest.fixture(scope="session")
def store(model_dir: str, corpus: Path) -> Path:
    """Codes of the data dir, two utterances a shard, one by one."""
    tokenize(model_dir, str(corpus / "data"), str(corpus / "tokens"), shard_size=2, threads=1)
    return corpus / "tokens"
