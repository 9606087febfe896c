"""recipes/detect.sh on DESED's layout, made of real speech: from the corpus' folders to the table of sound events."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.events import COLUMNS, Event, read_events
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labels import read_labels
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel

FIT = "--run.max_steps 4 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu"
FIT += " --data.num_workers 0 --data.crop_s 2 --data.val_crop_s 3"
EVENTS = {"Dog": (0.2, 1.2), "Speech": (1.0, 2.5)}


@pytest.fixture
def dataset(two_cities: Path, beckett: Path, tmp_path: Path) -> Path:
    """A few clips of each set: one reader is the dog, the other one speaks; a table that says 10 s, and a clip that is gone."""
    root = tmp_path / "dataset"
    voices = {"Dog": sf.read(beckett, dtype="float32")[0], "Speech": sf.read(two_cities, dtype="float32")[0][::3]}
    header = "\t".join(COLUMNS) + "\n"

    def clips(audio: str, names: list[str], events: dict[str, tuple[float, float]]) -> None:
        (root / audio).mkdir(parents=True)
        for k, name in enumerate(names):
            x = (1e-3 * np.random.default_rng(k).standard_normal(48_000)).astype(np.float32)
            for label, (start, end) in events.items():
                a, b = int(start * 16_000), int(end * 16_000)
                x[a:b] += voices[label][k * 4000 :][: b - a]
            sf.write(root / audio / f"{name}.wav", x, 16_000)

    def table(path: str, names: list[str], late: bool = False) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{n}.wav\t{a}\t{10.0 if late and e == 'Speech' else b}\t{e}\n"
            for n in names
            for e, (a, b) in EVENTS.items()
        ]
        (root / path).write_text(header + "".join(lines))

    numbers = [str(i) for i in range(4)]
    synthetic = "dcase_synth/{}/train/synthetic21_train/soundscapes"
    clips(synthetic.format("audio") + "_16k", numbers, EVENTS)
    table(synthetic.format("metadata") + ".tsv", [*numbers, "gone"])
    clips("audio/train/strong_label_real", ["Yabc_1.000_11.000"], EVENTS)
    table("metadata/train/audioset_strong.tsv", ["Yabc_1.000_11.000"], late=True)
    clips("audio/train/weak", ["w0", "w1"], EVENTS)
    (root / "metadata/train/weak.tsv").write_text("filename\tevent_labels\nw0.wav\tDog,Speech\nw1.wav\tSpeech\n")
    clips("audio/train/unlabel_in_domain", ["u0", "u1"], {"Dog": EVENTS["Dog"]})
    dev = "dcase_synth/{}/validation/synthetic21_validation/soundscapes"
    clips(dev.format("audio"), numbers[:3], EVENTS)
    table(dev.format("metadata") + ".tsv", numbers[:3])
    clips("audio/validation/validation", ["v0", "v1", "v2"], EVENTS)
    table("metadata/validation/validation.tsv", ["v0", "v1", "v2"])
    return root


def run(task: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./run.sh", *more], cwd=task, env=ENV, capture_output=True, text=True)


@pytest.mark.slow
def test_from_the_corpus_to_the_table(dataset: Path, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "desed" / "sed1", tmp_path)
    torch.manual_seed(0)
    for kind in ("frame", "clip"):
        ATSTModel(ATSTConfig(kind=kind, dim=24, depth=2, heads=2)).save_pretrained(task / kind)
    options = ["--data_args", f"--corpus {dataset}", "--config", "detector/debug", "--fit_args", FIT]
    done = run(task, *options, "--encoder", "clip", "--exp", "exp/clip")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "synthetic: 4 clips, 1 of the table without audio" in done.stdout
    assert "eval: not there" in done.stdout
    for split, n in (("train", 9), ("dev", 3), ("test", 3)):
        assert [f for f in check_data_dir(task / "data" / split) if f.fatal] == []
        assert len(open_input(task / "data" / split).utterances()) == n
    events = read_events(task / "data/train")
    assert events["strong-Yabc_1.000_11.000"] == [Event(0.2, 1.2, "Dog"), Event(1.0, 3.0, "Speech")]  # cut to the clip
    assert events["synthetic-0"] == [Event(0.2, 1.2, "Dog"), Event(1.0, 2.5, "Speech")]
    assert read_labels(task / "data/train") == {"weak-w0": ("Dog", "Speech"), "weak-w1": ("Speech",)}
    config = (task / "exp/clip/config.yaml").read_text()
    assert "train_unlabelled" in config

    found = json.loads((task / "exp/clip/detected/test.json").read_text())
    assert (found["labels"], found["utterances"]) == (["Dog", "Speech"], 3)
    assert found["summary"].keys() == {"psds1", "psds2", "event_f1", "intersection_f1"}
    assert found["settings"]["dev"] == "exp/clip/events/dev"
    assert read_events(task / "exp/clip/detected/test.tsv").keys() == {"test-v0", "test-v1", "test-v2"}
    assert "PSDS1" in done.stdout
    page = (task / "exp/clip/report.html").read_text()
    assert "Sound events" in page
    assert "consistency" in page

    taught = ["--encoder", "frame", "--teachers", "exp/clip/export", "--exp", "exp/c2f", "--stage", "fit"]
    c2f = run(task, *options, *taught)
    assert c2f.returncode == 0, c2f.stderr[-3000:]
    assert (task / "exp/c2f/detected/test.json").exists()


def test_what_is_missing(dataset: Path, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "desed" / "sed1", tmp_path)
    done = run(task, "--stop_stage", "data")
    assert done.returncode == 2
    assert "--corpus FOLDER" in done.stderr
    (dataset / "metadata/validation/validation.tsv").unlink()
    done = run(task, "--stop_stage", "data", "--data_args", f"--corpus {dataset}")
    assert done.returncode == 1
    assert "no clip with event times for test" in done.stderr
    assert "--encoder is needed" in run(task, "--encoder", "").stderr
