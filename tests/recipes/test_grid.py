"""recipes/grid.py on real speech: a cell is a row of results.jsonl, once; a cell that fails stops no other."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from audiokd.cli import main
from audiokd.data.ctm import Phone, write_ctm
from audiokd.errors import AudiokdError, ConfigError
from audiokd.hub.auto import load_model

RECIPES = Path(__file__).parents[2] / "recipes"
TEXT = [
    "it was the best of times",
    "it was the worst of times",
    "it was the age of wisdom",
    "it was the season of light",
]


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; its commands run in this process, for a start of Python takes longer than a debug step."""
    spec = importlib.util.spec_from_file_location("grid_script", RECIPES / "grid.py")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.syspath_prepend(RECIPES)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "grid_script", module)
    spec.loader.exec_module(module)
    module.said = []

    def run(cell, *words: str) -> None:
        if "--out" in words and Path(words[words.index("--out") + 1]).exists():
            return
        module.said.append(words[:2])
        try:
            main(list(words))
        except SystemExit as e:
            raise AudiokdError(f"'audiokd {words[0]}' ended with {e.code}") from e

    monkeypatch.setattr(module, "run", run)
    return module


@pytest.fixture
def recipe(two_cities: Path, whisper_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder: four utterances of 3 s with text and phone times, and a grid of two cells, one of them broken."""
    data = tmp_path / "data"
    data.mkdir()
    ids = [f"u{i}" for i in range(4)]
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (data / "segments").write_text("".join(f"{u} two_cities {3 * i} {3 * i + 3}\n" for i, u in enumerate(ids)))
    (data / "text").write_text("".join(f"{u} {t}\n" for u, t in zip(ids, TEXT)))
    write_ctm(data / "phones.ctm", {u: [Phone(0.1 * k, 0.1 * (k + 1), "abc"[k % 3]) for k in range(30)] for u in ids})
    (tmp_path / "tiny.yaml").write_text("run: {max_steps: 2, val_every: 2}\ndata: {val_utterances: 1}\n")
    shared = {"config": ["tiny.yaml"], "train": "data", "dev": "data", "test": "data"}
    score = {
        "data": "data",
        "train_data": "data",
        "metrics": ["mel"],
        "asr": str(whisper_dir),
        "language": "",
        "asr_limit": 1,
    }
    slm = {"config": "speech_lm/debug", "fit": {"run.max_steps": 1, "run.val_every": 1}, "score": {"max_duration_s": 2}}
    tree = {
        **shared,
        "score": score,
        "slm": slm,
        "tables": {
            "Sound": {"bits": "bits_per_second", "columns": {"rebuilt.mel": "mel", "slm.tts_bits": "bits"}},
            "Phones": {"bits": "semantic_bits_per_second", "columns": {"train.pnmi": "PNMI"}},
        },
        "fit": {"teacher.name": str(whisper_dir)},
        "cells": {
            "broken": {"fit": {"model.aux_dim": 33}},
            "none": {"seeds": [0], "fit": {"distill.kind": "none"}},
            "top": {"anchor": "original"},
        },
    }
    debug = Path(__file__).parents[2] / "audiokd" / "conf" / "lm_spt" / "debug.yaml"
    base = yaml.safe_load(debug.read_text())
    base["run"] |= {"max_steps": 2, "val_every": 2}
    base["data"] |= {"val_utterances": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_grid_is_done_once(grid: ModuleType, recipe: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["grid.py", "grid.yaml"])
    with pytest.raises(SystemExit, match="1"):  # a cell failed
        grid.main()
    out = capsys.readouterr().out
    assert "0 of 3 cells are in results.jsonl" in out
    assert "broken seed 0: failed:" in out
    assert "none seed 0: done" in out
    row, top = map(json.loads, Path("results.jsonl").read_text().splitlines())
    assert (row["system"], row["seed"], row["steps"], row["utterances"]) == ("grid/none", 0, 2, 4)
    assert row["utterances_read"] == 1
    wanted = {
        "pnmi_over_chance",
        "train.pnmi",
        "phone_purity",
        "abx_within",
        "rebuilt.mel",
        "semantic.mel",
        "rebuilt.cer",
    }
    wanted |= {
        "slm.tts_bits",
        "slm.stt_bits",
        "slm.real_cer",
        "slm.tts_cer",
        "slm.stt_cer_clipped",
        "slm.tts_gain_bits",
        "rebuilt.cer_clipped",
    }
    assert wanted <= row["scores"].keys()
    low, high = row["intervals"]["rebuilt.mel"]
    assert 0 < low <= row["scores"]["rebuilt.mel"] <= high
    assert row["parameters"] == sum(p.numel() for p in load_model("exp/grid/none-0/export").parameters())
    assert row["commit"] == row["scored_commit"]
    assert (top["system"], top["steps"], top["parameters"], top["frame_rate"]) == ("grid/top", 0, None, None)
    assert top["scores"]["rebuilt.mel"] < 0.1 < row["scores"]["rebuilt.mel"]
    assert row["bits_per_second"] == 800  # 8 streams of 256 codes at 12.5 Hz

    grid.said.clear()
    with pytest.raises(SystemExit, match="1"):
        grid.main()
    assert "2 of 3 cells are in results.jsonl" in capsys.readouterr().out
    assert not [words for words in grid.said if "none" in " ".join(words)]
    monkeypatch.setattr(sys, "argv", ["grid.py", "grid.yaml", "--tables"])
    grid.main()
    tables = capsys.readouterr().out
    assert (
        "Sound\n\n| cell | seeds | utterances (read) | read by | parameters | frames/s | bit/s | mel | bits |" in tables
    )
    shown = f"{row['scores']['rebuilt.mel']:.3f} [{low:.3f}, {high:.3f}]"
    about = f"| none | 1 | 4 (1) | {row['asr']} | {row['parameters'] / 1e6:.2f} M | 12.5 |"
    assert row["asr"].endswith(", the teacher")
    assert f"{about} 800 | {shown} | " in tables
    assert f"{about} 100 | " in tables  # the semantic stream's own rate
    assert tables.count("| top | 1 | 4 (1) |") == 1  # only where it has a score


def test_a_change_in_a_config_file_is_another_cell(grid: ModuleType, recipe: Path) -> None:
    before = [c.sha256 for c in grid.read_cells("grid.yaml")]
    assert before == [c.sha256 for c in grid.read_cells("grid.yaml")]
    with open("tiny.yaml", "a") as f:
        f.write("# another\n")
    assert not set(before) & {c.sha256 for c in grid.read_cells("grid.yaml")}


def test_a_cell_like_nothing(grid: ModuleType, recipe: Path) -> None:
    tree = yaml.safe_load(Path("grid.yaml").read_text())
    tree["cells"]["none"]["like"] = "nobody"
    Path("grid.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="cell none is like nobody"):
        grid.read_cells("grid.yaml")


def test_a_cell_that_another_process_has_is_left(grid: ModuleType, recipe: Path) -> None:
    cell = grid.read_cells("grid.yaml")[0]
    with sys.modules["cells"].alone(cell.folder) as mine:
        assert mine
        assert grid.work(cell, False) == "is being worked on elsewhere"
    assert not grid.said


def test_cells_that_wait_for_another_process_come_last(
    grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What two of three stand on is being made elsewhere, until the other is done and a nap is over."""
    cells = sys.modules["cells"]
    three = grid.read_cells("grid.yaml")
    elsewhere = contextlib.ExitStack()
    elsewhere.enter_context(cells.making(Path("exp/grid/shared")))
    order, naps = [], []
    monkeypatch.setattr(cells, "POLL_S", 0.0)
    monkeypatch.setattr(cells.time, "sleep", lambda s: (naps.append(s), elsewhere.close()))

    def do(cell: Any) -> str:
        if cell is not three[1]:
            with cells.making(Path("exp/grid/shared")):
                pass
        order.append(cell)
        return "done"

    cells.work_through(three, 1, lambda cell: cells.attempt(cell, lambda: do(cell)))
    assert order == [three[1], three[0], three[2]]
    assert naps == [0.0]
    assert capsys.readouterr().out.count("done") == 3


def test_a_cell_that_another_process_finished_is_no_second_row(grid: ModuleType, recipe: Path) -> None:
    cell = grid.read_cells("grid.yaml")[0]
    Path("results.jsonl").write_text(json.dumps({"config_sha256": cell.sha256, "system": "grid/none"}) + "\n")
    assert grid.work(cell, False) == "was done elsewhere"
    assert not grid.said


def _add_rows(first: int, script: str) -> None:
    sys.path.insert(0, str(Path(script).parent))
    spec = importlib.util.spec_from_file_location("grid_script", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["grid_script"] = module
    spec.loader.exec_module(module)
    for i in range(first, first + 20):
        module.add_row({"config_sha256": str(i), "system": "grid/none"})


def test_two_processes_lose_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_add_rows, (0, 20), [str(RECIPES / "grid.py")] * 2))
    rows = [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]
    assert sorted(int(r["config_sha256"]) for r in rows) == list(range(40))


def test_seeds_are_shown_as_mean_and_range(grid: ModuleType) -> None:
    rows = [{"scores": {"a": v}, "intervals": {"a": [0.4, 0.6]}} for v in (0.5, None, 0.7, 0.6)]
    assert grid.spread(rows[:1], "a") == "0.500 [0.400, 0.600]"
    assert grid.spread([{**rows[0], "intervals": {}}], "a") == "0.500"
    assert grid.spread(rows, "a") == "0.600 (0.500 to 0.700)"
    assert grid.spread(rows, "b") == "-"


def test_a_fault_of_the_grids_own_stops_no_other_cell(
    grid: ModuleType, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "train", lambda cell: {}["nothing"])
    cell = next(c for c in grid.read_cells("grid.yaml") if c.name == "none")
    assert grid.work(cell, False).startswith("failed: KeyError: 'nothing' (see ")
    assert "Traceback" in (cell.folder / "log").read_text()
