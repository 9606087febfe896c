"""egs/point_sed/sed1: mixtures whose times are true, and from points to intervals to a student, by run.sh and by a grid."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from grid_scripts import load_grid
from method_settings import settings_of
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.audio import load_at, write_wav
from audiokd.data.event_points import check_pairs, read_points
from audiokd.data.events import read_events
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir, read_data_dir
from audiokd.stages.fit import read_config

TASK = REPO / "egs" / "point_sed" / "sed1"
RATE = 16_000
FEW = {"run.max_steps": 2, "run.val_every": 2, "run.ckpt_every": 2, "run.accelerator": "cpu", "data.num_workers": 0}


def python(task: Path, *words: str) -> str:
    env = {**ENV, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, *words], cwd=task, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def task(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe with data of few clips, made of stretches of a reader in the packages' layout."""
    root = tmp_path_factory.mktemp("recipe")
    task = copy_recipe(TASK, root)
    for other in ("drums/tiue1", "debian_sounds/ssl1"):
        shutil.copytree(REPO / "egs" / other / "local", root / "egs" / other / "local")
    voice = load_at(open_input(two_cities).utterances()[0], RATE)
    rng = np.random.default_rng(0)

    def sound(path: str, seconds: float, decay_s: float = 0.0) -> None:
        at = int(rng.integers(0, len(voice) - seconds * RATE))
        x = voice[at : at + round(seconds * RATE)].copy()
        if decay_s:  # a click and how it dies away: 25 dB below after 1.25 log(10) decay_s
            x = np.random.default_rng(len(path)).standard_normal(len(x)).astype(np.float32)
            x *= 0.5 * np.exp(-np.arange(len(x)) / RATE / decay_s)
        file = task / "downloads" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_wav(file, x.astype(np.float32), RATE)

    for kit in "abcdefgh":
        for k, drum in enumerate(("kick", "snare")):
            name = f"hydrogen-drumkits/usr/share/hydrogen/data/drumkits/{kit}/{drum}.wav"
            sound(name, 2.0, 0.1 + 0.1 * k)
    for name in ("ambi_one", "ambi_glass_rub", "ambi_lunar_land", "vinyl_rewind", "ambi_sauna"):
        sound(f"sonic-pi-samples/usr/share/sonic-pi/samples/{name}.flac", 2.0)
    for language in ("en", "de", "es"):
        for letter in "ab":
            sound(f"klettres-data/usr/share/klettres/{language}/alpha/{letter}.ogg", 0.8)
    said = python(task, "local/make_data.py", "downloads", "data", "8", "4", "4")
    assert "8 clips" in said
    python(task, "-m", "audiokd.data.event_points", "data/train", "data/train-05", "--rate", "0.5")
    return task


def test_times_are_true(task: Path) -> None:
    """Where an event lies it is louder than where there is none; its end is where it has died away; points lie within."""
    for split in ("train", "dev", "test"):
        assert [f for f in check_data_dir(task / "data" / split) if f.fatal] == []
        events, points = read_events(task / "data" / split), read_points(task / "data" / split)
        for u in read_data_dir(task / "data" / split):
            wav = load_at(u, RATE)
            on = np.zeros(len(wav), dtype=bool)
            for e in events[u.id]:
                assert 0 <= e.start_s < e.end_s <= 10
                on[round(e.start_s * RATE) : round((e.end_s + 0.03) * RATE)] = True
                if e.label in ("kick", "snare"):
                    decay_s = 0.1 if e.label == "kick" else 0.2
                    assert e.end_s - e.start_s == pytest.approx(1.25 * np.log(10) * decay_s, abs=0.04)
            check_pairs(u.id, events[u.id], points[u.id], split)
            if on.any():
                assert np.square(wav[on]).mean() > 5 * np.square(wav[~on]).mean()
    assert len(read_events(task / "data" / "train-05")) == 4
    assert len(read_points(task / "data" / "train-05")) == 8


@pytest.mark.slow
def test_from_points_to_the_table(task: Path) -> None:
    (task / "conf" / "ears.yaml").write_text(
        (REPO / "audiokd/conf/atst/debug.yaml").read_text().replace("8, val", "1, val")
    )
    few = " ".join(f"--{k} {v}" for k, v in FEW.items())
    teacher = f"--config point_sed/debug {few}"
    options = ["--config", "detector/debug", "--fit_args", few, "--stage", "validate", "--exp", "exp/small"]
    env = {**ENV, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        ["./run.sh", *options, "--teacher_args", teacher], cwd=task, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = read_events(task / "data" / "train-05-taught")
    assert len(made) == 8
    about = json.loads((task / "data" / "train-05-taught" / "intervals.json").read_text())
    assert about["model"] == "point_sed"
    found = json.loads((task / "exp/small/detected/test.json").read_text())
    assert found["utterances"] == 4
    assert "PSDS1" in done.stdout


@pytest.mark.slow
def test_cells_of_points(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher, which is scored itself, and a student of its intervals: a row each."""
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(task)
    ears = {"method": "atst", "config": "atst/debug", "export": "init", "options": {**FEW, "run.max_steps": 1}}
    told = {"method": "point_sed", "config": "point_sed/debug", "train": "data/train-05", "export": "best"}
    learns = {"model.encoder": "{ears}", "data.events": ["{teacher_intervals}", "data/dev"]}
    tree = {
        "train": "data/train", "dev": "data/dev", "test": "data/test", "score": "detect", "columns": ["event_f1", "iou"],
        "shared": {
            "ears": ears,
            "teacher": {**told, "intervals": "data/train-05", "options": {"run.seed": "{seed}", **FEW}},
        },
        "cells": {
            "teacher": {"export": ["best"], "score": "intervals", "model": "{teacher}"},
            "taught": {"export": ["best"], "fits": [{
                "method": "detector", "config": "detector/debug", "train": "{teacher_intervals}", "options": {**learns, **FEW},
            }]},
        },
    }  # fmt: skip
    Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.setattr(sys, "argv", ["kd_grid.py", "grid.yaml"])
    grid.main()
    rows = {r["method"]: r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())}
    assert set(rows) == {"teacher", "taught"}
    assert {"best.iou", "best.onset_error_s", "best.offset_error_s"} <= set(rows["teacher"]["scores"])
    assert {"best.event_f1", "best.psds1"} <= set(rows["taught"]["scores"])
    assert all(r["parameters"] > 0 for r in rows.values())


def test_configs_and_cells_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(TASK)
    cells = {(c.method, c.seed): c for c in grid.read_cells("conf/grid.yaml")}
    assert {s for m, s in cells if m == "taught_05"} == {0, 1, 2}
    for cell in cells.values():
        for of in (cell, *cell.needs.values()):
            for fit in of.fits:
                files = [read_config(f) for f in grid.configs_of(fit)]
                given = {k: of.filled(v) for k, v in fit.get("options", {}).items()}
                settings_of(fit["method"], *files, given)
    taught = cells["taught_05", 1]
    teacher = taught.needs["teacher_05"]
    assert teacher.seed == 1
    where = f"{teacher.folder}/teacher_05/intervals"
    assert taught.filled(taught.fits[0]["train"]) == where
    assert taught.filled(taught.fits[0]["options"]["data.events"]) == [where, "data/dev"]
    assert cells["teacher_05", 1].model("best") == f"{teacher.folder}/teacher_05/export"
