"""recipes/kd_grid.py on models that generate: a shared teacher and judge, students, and the teacher itself at other settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from grid_scripts import load_grid
from tiny_pictures import write_digits

from audiokd.errors import ConfigError

FEW = {"run.max_steps": 2, "run.val_every": 2, "run.ckpt_every": 2, "run.accelerator": "cpu"}
JUDGE = {"step": "erm", "model.backbone": "test_convnext", "model.size": 32, "swad.n_converge": 0, **FEW}


def tree() -> dict[str, Any]:
    student = {"method": "tiue", "config": "tiue/debug"}
    taught = {"step": "distill", "distill.teacher": "{teacher}", **FEW}
    return {
        "train": "train", "dev": "dev", "test": "test", "columns": ["fid", "accuracy", "latency_ratio"],
        "shared": {
            "judge": {"method": "vl2v", "config": "vl2v/debug", "options": JUDGE},
            "teacher": {"method": "tiue", "config": "tiue/debug", "options": {"step": "pretrain", **FEW}},
        },
        "score": {"fidelity": {"encoder": "{judge}", "classifier": "{judge}", "any_size": True, "batch_size": 32}},
        "reference": {"model": "{teacher}", "steps": 10, "guidance": 2.0},
        "cells": {
            "teacher10": {"model": "{teacher}", "seeds": [0, 1], "generate": {"steps": 10, "guidance": 2.0, "batch_size": 80}},
            "ddim1": {"model": "{teacher}", "generate": {"steps": 1, "guidance": 2.0, "batch_size": 80}},
            "tiue4": {
                "export": ["last"], "generate": {"batch_size": 80},
                "fits": [{**student, "options": {"distill.kind": "tiue", **taught}}],
            },
        },
    }  # fmt: skip


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(write_digits(tmp_path, {"train": 8, "dev": 4, "test": 20}))
    Path("grid.yaml").write_text(yaml.safe_dump(tree(), sort_keys=False))
    return load_grid("kd_grid", monkeypatch)


def start(grid: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["kd_grid.py", "grid.yaml", *options])
    grid.said.clear()
    grid.main()


@pytest.mark.slow
def test_cells_that_generate(
    grid: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(grid, monkeypatch)
    rows = {(r["method"], r["seed"]): r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())}
    assert set(rows) == {("teacher10", 0), ("ddim1", 0), ("tiue4", 0), ("teacher10", 1)}
    assert [w[1] for w in grid.said if w[0] == "fit"] == ["vl2v", "tiue", "tiue"]  # judge, teacher, student
    wanted = {"fid", "kid", "precision", "recall", "density", "coverage", "diversity", "diversity_real", "accuracy"}
    wanted |= {"accuracy_real", "latency_ratio"}
    for row in rows.values():
        assert {f"last.{k}" for k in wanted} <= set(row["scores"])
        assert row["latency_ms"] > 0
        assert row["parameters"] == rows["ddim1", 0]["parameters"] > 0
        assert len(row["intervals"]["last.fid"]) == 2
    ratios = {k: r["scores"]["last.latency_ratio"] for k, r in rows.items()}
    assert ratios["teacher10", 0] == pytest.approx(1, rel=0.4)
    assert ratios["ddim1", 0] < 0.4
    assert ratios["tiue4", 0] < 0.7  # without guidance, and half of the network once
    assert rows["teacher10", 0]["scores"] != rows["teacher10", 1]["scores"]  # another noise
    assert (rows["tiue4", 0]["steps"], rows["ddim1", 0]["steps"]) == (2, 0)
    made = sorted(p.name for p in Path("exp/grid").glob("ddim1-0-*/scores/last-test/pictures/*.png"))
    assert len(made) == 80

    start(grid, monkeypatch)
    assert grid.said == []
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    table = capsys.readouterr().out
    low, high = rows["tiue4", 0]["intervals"]["last.accuracy"]
    assert f"| tiue4 | 1 | {rows['tiue4', 0]['scores']['last.fid']:.3f} [" in table
    assert f"{rows['tiue4', 0]['scores']['last.accuracy']:.3f} [{low:.3f}, {high:.3f}]" in table
    assert "| teacher10 | 2 |" in table
    start(grid, monkeypatch, "--forecast")
    assert "| tiue4 | 0 |" in capsys.readouterr().out


def test_what_makes_a_cell(grid: ModuleType) -> None:
    before = {(c.name, c.seed): c for c in grid.read_cells("grid.yaml")}
    ddim, tiue = before["ddim1", 0], before["tiue4", 0]
    assert set(ddim.needs) == set(tiue.needs) == {"judge", "teacher"}
    assert ddim.model("last") == f"{ddim.needs['teacher'].folder}/teacher/export"
    assert ddim.filled({"a": ["{judge}"]}) == {"a": [f"{ddim.needs['judge'].folder}/judge/export"]}
    assert len({c.sha256 for c in before.values()}) == 4
    changed = tree()
    changed["reference"]["steps"] = 20
    changed["cells"]["ddim1"]["generate"]["steps"] = 2
    Path("grid.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    after = {(c.name, c.seed): c.sha256 for c in grid.read_cells("grid.yaml")}
    assert all(after[k] != c.sha256 for k, c in before.items())


def test_cells_that_cannot_be(grid: ModuleType) -> None:
    for change, said in (
        ({"fits": [{"method": "tiue"}]}, "has fits and a model"),
        ({"score": "classify"}, "model and generate are of fidelity"),
        ({"model": "{nobody}"}, "{nobody} stands for nothing"),
    ):
        wrong = tree()
        wrong["cells"]["ddim1"] |= change
        Path("grid.yaml").write_text(yaml.safe_dump(wrong, sort_keys=False))
        with pytest.raises(ConfigError, match=said):
            grid.read_cells("grid.yaml")
