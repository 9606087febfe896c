"""recipes/det3d.sh from drives to scores with tiny networks, a grid of cells, and what its files tell `fit point_detr3d`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from grid_scripts import load_grid
from method_settings import settings_of
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.pseudo_boxes import read_pseudo_boxes
from audiokd.methods.point_detr3d.run import check_settings
from audiokd.stages.fit import read_config

TOY, NUSCENES = (REPO / "egs" / n / "det3d1" for n in ("toy_city", "nuscenes"))
TINY = "--run.max_steps 2 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu"
TEACHER = f"{TINY} --teacher.cameras 6"
SIZES = "--weights false --train 10 --dev 1 --test 2 --frames 1 --rates 20"


def run(task: Path, *options: str) -> subprocess.CompletedProcess[str]:
    env = {**ENV, "PYTHONPATH": str(REPO)}
    done = subprocess.run(["./run.sh", *options], cwd=task, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_points_from_nothing_to_a_page(tmp_path: Path) -> None:
    task = copy_recipe(TOY, tmp_path)
    options = ["--rate", "20", "--config", "point_detr3d/debug", "--data_args", SIZES, "--labeller_args", TINY]
    options += ["--teacher_args", TEACHER, "--fit_args", TINY]
    run(task, *options)
    exp = task / "exp" / "points-20"
    assert len(read_pseudo_boxes(exp / "teacher" / "pseudo")) == 10
    quality = json.loads((exp / "teacher" / "boxes" / "train-20.json").read_text())
    assert (quality["rows"], quality["quality"]["in_order"]) == (8, True)  # frames that had lost their boxes
    found = json.loads((exp / "student" / "boxes" / "best-test.json").read_text())
    assert (found["rows"], found["scenes"], found["system"]) == (2, 2, "exp/points-20")
    page = (exp / "student" / "report.html").read_text()
    assert "best-test: object by object" in page
    assert "best-test: boxes" in page
    said = run(task, *options)  # all of it is done
    assert said.stdout.count("2 steps are done already") == 3
    run(task, "--method", "boxes", "--turns", "45", *options)
    turned = [task / "exp" / "boxes-20" / "labeller" / "boxes" / f"best-test-turn{d}.json" for d in (0, 45)]
    assert [json.loads(p.read_text())["settings"]["within_m"] for p in turned] == [25.6, 25.6]
    assert json.loads((task / "exp" / "boxes-20" / "labeller" / "boxes" / "best-test.json").read_text())["rows"] == 2


@pytest.mark.slow
def test_cells_of_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A labeller, a teacher that stands on it and a student that learns from its boxes: a row each, in one grid."""
    task = copy_recipe(TOY, tmp_path)
    run(task, "--stop_stage", "data", "--rate", "20", "--data_args", SIZES)
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(task)
    whole = {"model.low": [-25.6, -25.6, -3.0], "model.high": [25.6, 25.6, 3.0], "model.cell": 1.6}
    few = {**whole, "run.max_steps": 2, "run.val_every": 2, "run.ckpt_every": 2, "run.accelerator": "cpu"}
    fit = {"method": "point_detr3d", "config": "point_detr3d/debug", "export": "best"}
    told = {"step": "teacher", "init.model": "{labeller}", "teacher.cameras": 6, "run.seed": "{seed}"}
    learns = {"step": "student", "data.pseudo": "{teacher_boxes}"}
    tree = {
        "train": "data/train-20", "dev": "data/dev", "test": "data/test", "score": {"boxes": {"bands": [10.0, 20.0]}},
        "columns": ["map", "iou"],
        "shared": {
            "labeller": {**fit, "options": {"step": "labeller", "run.seed": "{seed}", **few}},
            "teacher": {**fit, "boxes": "data/train-20", "options": {**told, **few}},
        },
        "cells": {
            "boxes": {"export": ["best"], "model": "{labeller}"},
            "teacher": {"export": ["best"], "model": "{teacher}"},
            "student": {"export": ["best"], "fits": [{**fit, "options": {**learns, **few}}]},
        },
    }  # fmt: skip
    Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.setattr(sys, "argv", ["kd_grid.py", "grid.yaml"])
    grid.main()
    rows = {r["method"]: r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())}
    assert set(rows) == {"boxes", "teacher", "student"}
    assert {"best.map", "best.nds_without_velocity", "best.iou", "best.recall"} <= set(rows["student"]["scores"])
    assert rows["teacher"]["scores"]["best.recall_2m"] > 0.9  # it is told where things are
    assert all(r["parameters"] > 0 for r in rows.values())
    commands = [w[0] for w in {tuple(w): w for w in grid.said}.values()]
    assert commands.count("fit") == 3
    assert commands.count("detect3d") == 4  # pseudo labels, and the test set of each cell


@pytest.mark.parametrize("step", ["labeller", "teacher", "student"])
@pytest.mark.parametrize("task", [TOY, NUSCENES], ids=lambda p: p.parts[-2])
def test_configs_are_read(task: Path, step: str) -> None:
    more = {"step": step} | ({"data.pseudo": "boxes"} if step == "student" else {})
    check_settings(settings_of("point_detr3d", read_config(str(task / "conf" / "base.yaml")), more))


def test_cells_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(TOY)
    for cell in grid.read_cells("conf/grid.yaml"):
        for of in (cell, *cell.needs.values()):
            for fit in of.fits:
                files = [read_config(f) for f in grid.configs_of(fit)]
                check_settings(
                    settings_of("point_detr3d", *files, {k: of.filled(v) for k, v in fit["options"].items()})
                )
