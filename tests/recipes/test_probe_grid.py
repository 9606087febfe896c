"""recipes/probe_grid.py on real speech: pretrained, untrained, fine-tuned and taught encoders, each a row of results.jsonl once."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from grid_scripts import load_grid

from audiokd.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "recipes"
CONF = Path(__file__).parents[2] / "audiokd" / "conf"
RUN = {"max_steps": 4, "val_every": 2, "ckpt_every": 2, "log_every": 1, "accelerator": "cpu"}
DATA = {"batch_size": 4, "num_workers": 0, "crop_s": 1.0, "val_crop_s": 1.0}
PRETRAIN = {"model": {"dim": 24, "depth": 2, "heads": 2}, "heads": {"hidden": 16, "out": 8}, "data": DATA, "run": RUN}


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_grid("probe_grid", monkeypatch)


@pytest.fixture
def recipe(readers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder: two readers to tell apart, without labels and with, and a grid of every kind of cell."""
    for split, of in (("train", "train"), ("dev", "dev"), ("test", "dev")):
        shutil.copytree(readers / of, tmp_path / "data" / "readers" / split)
    (tmp_path / "pretrain.yaml").write_text(yaml.safe_dump(PRETRAIN))
    (tmp_path / "finetune.yaml").write_text(yaml.safe_dump({"data": DATA, "run": RUN}))
    cells = {
        "log_mel": {"model": "log_mel"},
        "frame": {"config": "pretrain.yaml"},
        "untrained": {"init_of": "frame"},
        "tuned": {"encoder": "frame", "finetune": "finetune.yaml"},
        "taught": {"encoder": "untrained", "teachers": ["tuned"], "finetune": "finetune.yaml"},
    }
    tree = {"train": "data/readers/train", "dev": "data/readers/dev", "tasks": {"class": ["readers"]}, "cells": cells}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(grid: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["probe_grid.py", "grid.yaml", *options])
    grid.said.clear()
    grid.main()


def fitted(grid: ModuleType) -> list[str]:
    """Cells that were trained, in order."""
    folders = [Path(words[words.index("--exp_dir") + 1]) for words in grid.said if words[0] == "fit"]
    return [str(f.relative_to("exp/grid")).split("-")[0] for f in folders]


@pytest.mark.slow
def test_every_cell_is_a_row_once(
    grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start(grid, monkeypatch)
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert [r["system"] for r in rows] == [f"grid/{n}" for n in ("log_mel", "frame", "untrained", "tuned", "taught")]
    assert [r["steps"] for r in rows] == [0, 4, 0, 4, 4]
    assert all(0 <= r["scores"]["readers"] <= 1 and r["chance"]["readers"] == 0.5 for r in rows)
    assert rows[0]["scores"]["readers"] == 1.0  # the readers are loud and quiet
    assert rows[1]["parameters"] == rows[2]["parameters"] < rows[3]["parameters"]
    assert rows[0]["validation"] == rows[2]["validation"] == {}
    monitors = rows[1]["validation"]
    assert set(monitors) == {"loss", "std_student", "rank", "mask_share"}
    assert all(least <= min(first, last) for first, least, last in monitors.values())
    assert 0 < monitors["mask_share"][0] < 1
    assert fitted(grid) == ["frame", "tuned", "taught"]
    of = {c.name: c.folder for c in grid.read_cells("grid.yaml")}
    taught = next(w for w in grid.said if w[0] == "fit" and str(of["taught"]) in w[w.index("--exp_dir") + 1])
    assert taught[taught.index("--teachers.models") + 1] == f"[{of['tuned']}/readers/export]"
    assert taught[taught.index("--model.encoder") + 1] == f"{of['frame']}/export-init"

    start(grid, monkeypatch)
    assert not grid.said
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    table = capsys.readouterr().out
    assert "| taught | 1 | 4 |" in table
    assert f"{rows[4]['scores']['readers']:.3f} [" in table
    assert f"{monitors['loss'][0]:.3g} {monitors['loss'][1]:.3g} {monitors['loss'][2]:.3g}" in table


@pytest.mark.slow
def test_what_a_cell_needs_is_made_again(grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, where the rows are and the work is not."""
    start(grid, monkeypatch)
    lines = Path("results.jsonl").read_text().splitlines(keepends=True)
    Path("results.jsonl").write_text("".join(lines[:-1]))
    shutil.rmtree("exp")
    start(grid, monkeypatch, "--nj", "2")
    assert fitted(grid) == ["frame", "tuned", "taught"]
    again = json.loads(Path("results.jsonl").read_text().splitlines()[-1])
    first = json.loads(lines[-1])
    assert again["scores"] == first["scores"]
    assert again["config_sha256"] == first["config_sha256"]


@pytest.mark.slow
def test_cells_that_learn_codes(
    grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MERT on an RVQ-VAE's codes, on clusters and on neither, each with keys of its own; tokenizers are trained once."""
    small = {"run": RUN, "data": DATA}
    for name, method in (("mert", "mert"), ("codec", "rvq_vae")):
        packaged = yaml.safe_load((CONF / method / "debug.yaml").read_text())
        (recipe / f"{name}.yaml").write_text(yaml.safe_dump({**packaged, **small}))
    mert = {"config": "mert.yaml"}
    tree = yaml.safe_load(Path("grid.yaml").read_text()) | {"method": "mert", "mlp": True}
    tree["cells"] = {
        "codec": {"tokenizer": "codec.yaml"},
        "clusters": {"tokenizer": [8, 4]},
        "of_codec": {**mert, "codes": "codec", "fit": {"teacher.cqt": False}},
        "of_clusters": {**mert, "codes": "clusters"},
        "untrained": {"init_of": "of_codec"},
    }
    Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    start(grid, monkeypatch)
    rows = {
        r["system"].removeprefix("grid/"): r for r in map(json.loads, Path("results.jsonl").read_text().splitlines())
    }
    assert list(rows) == list(tree["cells"])
    assert fitted(grid) == ["codec", "of_codec", "of_clusters"]
    assert set(rows["codec"]["scores"]) == {"mel", "stft", "si_sdr", *(f"codes{q} used" for q in range(2))}
    assert rows["codec"]["set"] == "dev"
    assert rows["clusters"]["scores"] == {}
    assert [rows[n]["steps"] for n in ("codec", "clusters", "of_codec", "untrained")] == [4, 0, 4, 0]
    assert all(0 <= rows[n]["scores"]["readers"] <= 1 for n in ("of_codec", "of_clusters", "untrained"))
    of = {c.name: c.folder for c in grid.read_cells("grid.yaml")}
    learnt = yaml.safe_load((of["of_codec"] / "config.yaml").read_text())["teacher"]
    assert (learnt["stored_codes"], learnt["cqt"]) == (f"{of['codec']}/codes/all", False)
    learnt = yaml.safe_load((of["of_clusters"] / "config.yaml").read_text())["teacher"]
    assert (learnt["stored_codes"], learnt["cqt"]) == (f"{of['clusters']}/codes/all", True)
    capsys.readouterr()
    start(grid, monkeypatch, "--tables")
    encoders, tokenizers = capsys.readouterr().out.split("\n| cell", 1)
    assert "| of_codec | 1 | 4 |" in encoders
    assert "codec |" in tokenizers
    assert "codes1 used" in tokenizers
    assert "| codec | 1 |" not in encoders


def test_cells_that_cannot_be(grid: ModuleType, recipe: Path) -> None:
    tree = yaml.safe_load(Path("grid.yaml").read_text())
    for cell, said in (
        ({"encoder": "nobody"}, "needs nobody of seed 0"),
        ({"encoder": "frame", "seeds": [1]}, "needs frame of seed 1"),
        ({"config": "pretrain.yaml", "model": "log_mel"}, "has config and model of"),
        ({"seeds": [0]}, "has none of"),
    ):
        tree["cells"]["odd"] = cell
        Path("grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        with pytest.raises(ConfigError, match=said):
            grid.read_cells("grid.yaml")


def test_another_config_is_another_cell(grid: ModuleType, recipe: Path) -> None:
    """And so is every cell that needs it; none takes a model from the folder of another."""
    before = {c.name: c.sha256 for c in grid.read_cells("grid.yaml")}
    folders = {c.folder for c in grid.read_cells("grid.yaml")}
    Path("finetune.yaml").write_text(yaml.safe_dump({"data": DATA, "run": {**RUN, "max_steps": 5}}))
    after = {c.name: c.sha256 for c in grid.read_cells("grid.yaml")}
    assert {n for n in before if before[n] != after[n]} == {"tuned", "taught"}
    assert len(folders | {c.folder for c in grid.read_cells("grid.yaml")}) == 5 + 2


def test_a_command_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its output is in the log, its error code comes back, and what it changes of this process is nothing."""
    monkeypatch.syspath_prepend(RECIPES)
    cells = importlib.import_module("cells")
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    assert cells.command(["--version"], log) == 0
    before = list(sys.argv)
    assert cells.command(["fit", "nothing"], log) == 2
    assert sys.argv == before
    assert log.read_text().startswith(version("audiokd"))
    assert "unknown method 'nothing'" in log.read_text()
