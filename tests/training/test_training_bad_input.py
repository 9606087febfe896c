"""What is in real corpora: files of all rates, NaN, silence, clips shorter than a crop. None stops ATST, none is a wrong number."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from whole_runs import finish, rows

import audiokd
from audiokd.data.audio import load_at, resample
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.stages.export import export
from audiokd.stages.extract import extract
from audiokd.teachers.trainable import load_trainable


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sentence as it is in ten corpora: at three rates, in stereo, with NaN in it, silence, a click, cut short, no sound."""
    root = tmp_path_factory.mktemp("corpus")
    x = load_at(open_input(two_cities).utterances()[0], 48_000)[: 3 * 48_000]
    broken = x[::3].copy()
    broken[20_000] = np.nan
    files = {
        "r48": (x, 48_000), "r16": (resample(x, 48_000, 16_000), 16_000), "r8": (resample(x, 48_000, 8_000), 8_000),
        "stereo": (np.stack([x, 0.5 * x], 1), 48_000), "nan": (broken, 16_000),
        "click": (x[:300], 48_000), "short": (x[:24_000], 48_000),
    }  # fmt: skip
    files["silent"] = (np.zeros(40_000, np.float32), 16_000)
    for name, (wav, rate) in files.items():
        sf.write(root / f"{name}.wav", wav, rate, subtype="FLOAT")
    (root / "text.wav").write_text("this is no sound\n")
    return root


def test_a_corpus_of_such_files_trains(corpus: Path, tmp_path: Path) -> None:
    """Files that cannot be heard are named once and left out; all steps are done and finite; the model is sound."""
    options = f"--config atst/debug --train {corpus} --dev {corpus} --run.accelerator cpu --run.max_steps 6"
    options += " --run.val_every 3 --run.ckpt_every 3 --run.log_every 1 --data.num_workers 0 --data.val_utterances 9"
    said = finish([str(Path(sys.executable).with_name("audiokd")), "fit", "atst", *options.split()], tmp_path / "exp")
    for part, name in ((p, n) for p in ("training", "validation") for n in ("nan", "text")):
        told = [line for line in said.splitlines() if f"left out of {part}" in line and name in line]
        assert len(told) == 1, said
    assert "utterances that cannot be read: 2 of dev, 2 of train; errors.jsonl" in said
    written = [json.loads(line) for line in (tmp_path / "exp" / "errors.jsonl").read_text().splitlines()]
    assert {(r["set"], r["id"]) for r in written} == {(s, i) for s in ("train", "dev") for i in ("nan", "text")}
    assert "NaN" in said
    for name in ("r48", "r16", "r8", "stereo", "silent", "click", "short"):
        assert not any("left out" in line and f"{name}.wav" in line for line in said.splitlines())
    numbers = [float(v) for (_, _, name), v in rows(tmp_path / "exp").items() if name == "loss"]
    assert len(numbers) == 6 + 3
    assert np.isfinite(numbers).all()
    export(str(tmp_path / "exp"), str(tmp_path / "model"))
    features = audiokd.load_model(tmp_path / "model").extract_features(torch.zeros(1, 16_000))
    assert bool(features.clip.isfinite().all())


def test_what_of_it_can_be_extracted(corpus: Path, tmp_path: Path) -> None:
    """An error row for each of the others; one sentence at three rates is one sentence."""
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=32, depth=2, heads=2)).save_pretrained(tmp_path / "model")
    with pytest.raises(AudiokdError, match="3 of 9"):
        extract(str(tmp_path / "model"), str(corpus), str(tmp_path / "store"), layer="clip")
    store = audiokd.open_store(tmp_path / "store")
    assert {e["id"] for e in store.errors()} == {"nan", "text", "click"}
    assert set(store) == {"r48", "r16", "r8", "stereo", "silent", "short"}
    clips = {name: store[name].array[0] for name in store}
    assert all(np.isfinite(c).all() for c in clips.values())
    scale = np.abs(clips["r16"]).max()
    assert np.abs(clips["r48"] - clips["r16"]).max() < 0.02 * scale
    assert np.abs(clips["silent"] - clips["r16"]).max() > 0.2 * scale


def test_weights_of_another_size(corpus: Path, tmp_path: Path) -> None:
    """A run goes on as it began, and a folder whose weights are not its config's is refused."""
    options = (
        f"--config atst/debug --train {corpus}/r16.wav --dev {corpus}/r16.wav --run.accelerator cpu --run.max_steps 1"
    )
    command = [str(Path(sys.executable).with_name("audiokd")), "fit", "atst", *options.split()]
    finish(command, tmp_path / "exp")
    with pytest.raises(AssertionError, match=r"model\.dim"):
        finish(command, tmp_path / "exp", "--model.dim", "48")
    torch.manual_seed(0)
    for name, dim, depth in (("wide", 64, 2), ("shallow", 32, 1), ("right", 32, 2)):
        ATSTModel(ATSTConfig(kind="frame", dim=dim, depth=depth, heads=2)).save_pretrained(tmp_path / name)
    right = tmp_path / "right" / "model.safetensors"
    for name, what in (
        ("wide", "cannot load the model"),
        ("shallow", "11 weights are missing, blocks.1.attn.proj.bias"),
    ):
        right.write_bytes((tmp_path / name / "model.safetensors").read_bytes())
        for load in (audiokd.load_model, load_trainable):
            with pytest.raises(
                AudiokdError, match=what.replace("the model", "the (model|encoder)").replace(".", r"\.")
            ):
                load(str(tmp_path / "right"))
