"""recipes/kd_grid.py on scikit-learn's digits: one pair model, students of several runs, each a row of results.jsonl once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from grid_scripts import load_grid
from tiny_digits import save_digits
from tiny_pairs import bert, save_pair, tokenizer
from tiny_pictures import write_digits
from tiny_textures import write_mvtec

from audiokd.data.anomaly_sets import mvtec_set
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import read_items, write_items
from audiokd.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "recipes"
RUN = {"run.max_steps": 3, "run.val_every": 1, "run.ckpt_every": 3, "run.accelerator": "cpu"}
LEAVE = {"data.leave_out": "{domain}", **RUN}
STUDENT = {"model.backbone": "test_resnet", "model.size": 32}
TEACHER = {"teacher.pair": "{pair}"}


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_grid("kd_grid", monkeypatch)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder: digits of three domains, a text encoder, and a grid of cells of one run and of two."""
    from transformers import AutoConfig, AutoModel

    save_digits(tmp_path / "data" / "all", each=6)
    items = read_items(tmp_path / "data" / "all")
    for domain in ("turned", "inverted"):
        write_items(tmp_path / "data" / domain, [i for i in items if i.domain == domain])
    captioned = [i.with_(caption=f"a photo of a {i.label}.") for i in items]
    write_items(tmp_path / "data" / "pair", captioned[::2])
    write_items(tmp_path / "data" / "pair-dev", captioned[1::2])
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(**bert())).save_pretrained(tmp_path / "text")
    tokenizer(20).save_pretrained(tmp_path / "text")
    (tmp_path / "student.yaml").write_text(yaml.safe_dump(STUDENT | LEAVE | {"data.leave_out": ""}))
    debug: dict[str, Any] = {"method": "vl2v", "config": "vl2v/debug"}
    sets = {"train": "data/pair", "dev": "data/pair-dev"}
    tree = {
        "train": "data/all", "dev": "data/all", "test": "data/{domain}", "domains": ["turned", "inverted"],
        "shared": {"pair": {"method": "lit", "config": ["lit/debug"], **sets, "options": {"model.text": "text", **RUN}}},
        "cells": {
            "teacher": {
                "domains": ["turned"], "export": ["last"],
                "fits": [{**debug, "options": {"step": "sd", "optim.lr": 0, **TEACHER, **LEAVE}}],
            },
            "broken": {
                "domains": ["turned"],
                "fits": [{**debug, "options": {"step": "erm", "model.backbone": "nobody", **LEAVE}}],
            },
            "erm": {"fits": [{**debug, "config": ["vl2v/debug", "student.yaml"], "options": {"step": "erm", **LEAVE}}]},
            "adip": {
                "domains": ["turned"], "export": ["best", "swad"], "seeds": [1],
                "fits": [
                    {**debug, "name": "align", "options": {"step": "align", **STUDENT, **TEACHER, **LEAVE}},
                    {
                        **debug, "name": "distill",
                        "options": {"step": "distill", "model.aligned": "{align}", "swad.n_converge": 9, **TEACHER, **LEAVE},
                    },
                ],
            },
        },
    }  # fmt: skip
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(grid: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["kd_grid.py", "grid.yaml", *options])
    grid.said.clear()
    grid.main()


@pytest.mark.slow
def test_every_cell_is_a_row_once(
    grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as failed:
        start(grid, monkeypatch)
    assert failed.value.code == 1
    said = capsys.readouterr().out
    assert "broken-turned seed 0: failed:" in said
    assert said.count(": done\n") == 4
    rows = {r["system"]: r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())}
    assert list(rows) == ["grid/teacher-turned", "grid/erm-turned", "grid/erm-inverted", "grid/adip-turned"]
    fits = [(w[1], Path(w[w.index("--exp_dir") + 1]).parent.name.split("-")[0]) for w in grid.said if w[0] == "fit"]
    assert fits == [
        ("lit", "pair"), ("vl2v", "teacher"), ("vl2v", "broken"), ("vl2v", "erm"), ("vl2v", "erm"), ("vl2v", "adip"),
        ("vl2v", "adip"),
    ]  # fmt: skip
    erm, adip = rows["grid/erm-inverted"], rows["grid/adip-turned"]
    assert set(erm["scores"]) == {"last.accuracy", "last.in_domain", "best.accuracy", "best.in_domain"}
    assert all(0 <= x <= 1 for x in erm["scores"].values())
    assert set(adip["scores"]) == {"best.accuracy", "best.in_domain"}
    assert adip["without"] == ["swad"]
    assert (adip["steps"], adip["seed"], adip["set"], adip["method"]) == (6, 1, "data/turned", "adip")
    assert all(r["latency_ms"] > 0 and r["parameters"] > 0 and r["seconds"] > 0 for r in rows.values())
    assert not list(Path("exp/grid").glob("erm*/*/checkpoints"))
    assert list(Path("exp/grid").glob("pair*/pair/checkpoints"))

    # the teacher at a rate of 0 is the pair model as it was
    from audiokd.hub.auto import load_for_inference
    from audiokd.teachers.pair import load_pair

    pair = load_pair(str(next(Path("exp/grid").glob("pair*/pair/export"))))
    tower = load_for_inference(str(next(Path("exp/grid").glob("teacher*/vl2v/export-last"))))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(tower.extract(x, None, "embedding")[0][:, 0], pair.embed_media({"pixel_values": x}))

    with pytest.raises(SystemExit):
        start(grid, monkeypatch)
    assert [w[0] for w in grid.said] == ["fit"]  # of the broken one
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    table = capsys.readouterr().out
    mean = (rows["grid/erm-turned"]["scores"]["best.accuracy"] + erm["scores"]["best.accuracy"]) / 2
    line = next(x for x in table.split("Checkpoint: best")[1].splitlines() if x.startswith("| erm | 1 |"))
    assert f" {mean:.3f} " in line
    assert "Checkpoint: swad" not in table
    start(grid, monkeypatch, "--forecast")
    assert "| broken | 1 | ? | ? |" in capsys.readouterr().out


@pytest.mark.slow
def test_prompts_students_and_names(
    grid: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No domain; runs with sets of their own; init is scored; scores of several columns, each with its interval."""
    monkeypatch.chdir(write_digits(tmp_path, {"train": 6, "dev": 4, "test": 5}))
    save_pair("clip", tmp_path / "clip")
    (tmp_path / "words.txt").write_text("dog\ncat\nrain\nclock\nfish\nbird\n")
    few = {"run.max_steps": 2, "run.val_every": 2, "run.ckpt_every": 2, "run.accelerator": "cpu"}
    taught = {
        "name": "taught", "method": "promptsrc", "config": "promptsrc/debug",
        "options": {"model.pair": "clip", "data.test": "[test]", "data.shots": 4, "average.points": 2, **few},
    }  # fmt: skip
    learns = {"teacher.pair": "{taught}", "model.backbone": "test_resnet", "model.prompts": 0, **few}
    words = {"pair": "clip", "vocabulary.source": "list", "vocabulary.path": "words.txt", **few}
    tree = {
        "train": "train", "dev": "dev", "test": "test", "score": {"classify": {"base_novel": True}},
        "columns": ["base", "novel", "harmonic_mean"],
        "cells": {
            "teacher": {"export": ["init", "last"], "fits": [taught]},
            "student": {
                "export": ["last"],
                "fits": [taught, {"method": "promptkd", "config": "promptkd/debug", "options": learns}],
            },
            "names": {
                "export": ["init"], "score": "name",
                "fits": [{"method": "s3a", "config": "s3a/debug", "options": words}],
            },
        },
    }  # fmt: skip
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    start(grid, monkeypatch)
    rows = {r["method"]: r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())}
    assert set(rows) == {"teacher", "student", "names"}
    sides = {f"{c}.{s}" for c in ("init", "last") for s in ("accuracy", "base", "novel", "harmonic_mean")}
    assert sides | {"last.in_domain"} == set(rows["teacher"]["scores"])
    assert sides <= set(rows["teacher"]["intervals"])
    assert {"init.accuracy", "init.clustering", "init.iou"} <= set(rows["names"]["scores"])
    assert all(r["parameters"] > 0 and r["latency_ms"] > 0 for r in rows.values())
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    first, last = capsys.readouterr().out.split("Checkpoint: last")
    low, high = rows["teacher"]["intervals"]["init.novel"]
    assert f"{rows['teacher']['scores']['init.novel']:.3f} [{low:.3f}, {high:.3f}]" in first
    assert "| student | 1 |" in last


def test_what_makes_a_cell(grid: ModuleType, recipe: Path) -> None:
    """Its seed, domain, runs, files and what it stands on; the pair model is one for all."""
    before = {(c.name, c.seed): c for c in grid.read_cells("grid.yaml")}
    assert len({c.sha256 for c in before.values()}) == len({c.folder for c in before.values()}) == 5
    adip = before["adip-turned", 1]
    assert adip.needs["pair"].folder == before["teacher-turned", 0].needs["pair"].folder
    assert adip.filled("{align} {seed} {domain} a {}.") == f"{adip.folder}/align/export 1 turned a {{}}."
    (recipe / "student.yaml").write_text("{}")
    tree = yaml.safe_load(Path("grid.yaml").read_text())
    after = {(c.name, c.seed): c.sha256 for c in grid.read_cells("grid.yaml")}
    assert {n for n, _ in before if before[n, _].sha256 != after[n, _]} == {"erm-turned", "erm-inverted"}
    tree["shared"]["pair"]["options"]["run.seed"] = "{seed}"
    Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    other = {(c.name, c.seed): c for c in grid.read_cells("grid.yaml")}
    assert (other["adip-turned", 1].needs["pair"].seed, other["teacher-turned", 0].needs["pair"].seed) == (1, 0)
    assert other["adip-turned", 1].sha256 != after["adip-turned", 1]


def test_cells_that_cannot_be(grid: ModuleType, recipe: Path) -> None:
    tree = yaml.safe_load(Path("grid.yaml").read_text())
    run = {"method": "vl2v"}
    for cell, said in (
        ({"fits": []}, "without runs"),
        ({"fits": [{"config": "x"}]}, "without a method"),
        ({"fits": [{**run, "option": {}}]}, "a run has option"),
        ({"fits": [run], "tests": ["x"]}, "cell odd has tests"),
        ({"fits": [run, run]}, "have one name"),
        ({"fits": [{**run, "options": {"a": "{later}"}}, {**run, "name": "later"}]}, "{later} stands for nothing"),
        ({"fits": [run], "score": "judge"}, "is scored by judge"),
    ):
        tree["cells"]["odd"] = cell
        Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        with pytest.raises(ConfigError, match=said):
            grid.read_cells("grid.yaml")


def test_detectors_are_scored_by_their_maps(
    grid: ModuleType, coffee: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for category in ("cup", "table"):
        write_mvtec(tmp_path / "set", coffee, category, 4, 2)
    images = mvtec_set(tmp_path / "set")
    of = {f"test-{d}": [i for i in images.splits["test"] if i.domain == d] for d in ("cup", "table")}
    for splits in (images.splits, of):
        write_image_set(tmp_path / "data", ImageSet(splits, images.classes))
    options = {
        "run.max_steps": 2,
        "run.accelerator": "cpu",
        "data.category": "{domain}",
        "data.test": ["data/test-{domain}"],
    }
    tree = {
        "train": "data/train", "dev": "data/train", "test": "data/test-{domain}", "domains": ["cup", "table"], "each": "on",
        "score": "anomalies", "columns": ["auroc", "aupro"],
        "cells": {"dbfad": {"export": ["last"], "fits": [{"method": "dbfad", "config": "dbfad/debug", "options": options}]}},
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    start(grid, monkeypatch)
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert [r["domain"] for r in rows] == ["cup", "table"]
    for row in rows:
        assert set(row["scores"]) == {f"last.{k}" for k in ("auroc", "pixel_auroc", "aupro", "f1", "f1_oracle")}
        assert row["latency_ms"] > 0
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    said = capsys.readouterr().out
    assert "| on cup auroc | on table auroc | mean auroc | on cup aupro |" in said
    assert "| ms a picture | frames a second |" in said
    speed, per_second = (
        float(x) for x in next(x for x in said.splitlines() if x.startswith("| dbfad |")).split("|")[-3:-1]
    )
    assert per_second == pytest.approx(1000 / speed, rel=0.1)
