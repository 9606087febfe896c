"""Recipes of SALT: the clips of toy_motion, that one frame tells nothing, the lists of K400, and configs and cells of the grids."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from method_settings import settings_of
from PIL import Image
from recipe_copies import ENV, asked, copy_recipe

from audiokd.data.items import read_items
from audiokd.eval.linear_probe import ProbeSet, linear_probe
from audiokd.methods.salt.run import check_settings
from audiokd.stages.fit import read_config

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "egs/toy_motion/salt1/local"


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def load(name: str, folder: Path = LOCAL) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"salt_{folder.parts[-3]}_{name}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


motion = load("motion")


def shift(a: np.ndarray, b: np.ndarray, most: int = 5) -> tuple[int, int]:
    """Down and across by which `a`'s content has moved in `b`."""
    grey = [x.mean(-1)[most:-most, most:-most] for x in (a.astype(np.float64), b.astype(np.float64))]
    moves = [(dy, dx) for dy in range(-most, most + 1) for dx in range(-most, most + 1)]

    def unlike(move: tuple[int, int]) -> float:
        dy, dx = move
        h, w = grey[0].shape
        old = grey[0][max(0, -dy) : h - max(0, dy), max(0, -dx) : w - max(0, dx)]
        new = grey[1][max(0, dy) : h + min(0, dy), max(0, dx) : w + min(0, dx)]
        return float(np.abs(old - new).mean())

    return min(moves, key=unlike)


@pytest.mark.parametrize(("name", "down", "across"), [("pan_e", 0, -1), ("pan_n", 1, 0), ("pan_sw", -1, 1)])
def test_a_pan_moves_its_content_the_other_way(photographs: list[Path], name: str, down: int, across: int) -> None:
    moved = np.zeros(2)
    for k in range(4):
        found = motion.clip(motion.photograph(str(photographs[k])), name, np.random.default_rng(k))
        moved += shift(found[2], found[4])  # whole pixels: of one photograph one may be off
    assert moved @ (down, across) > 0.85 * np.linalg.norm(moved) * np.hypot(down, across) > 0


def test_a_still_clip_stands_still_and_others_do_not(photographs: list[Path]) -> None:
    for k, name in enumerate(motion.MOTIONS):
        found = motion.clip(motion.photograph(str(photographs[k % 4])), name, np.random.default_rng(k))
        assert found.shape == (8, 40, 40, 3)
        assert (np.abs(np.diff(found.astype(int), axis=0)).max() == 0) == (name == "still")


def test_zooms_and_turns_go_their_way() -> None:
    """By poses: the window shrinks as it zooms in, and turns right as its content turns left."""
    for k in range(50):
        rng = [np.random.default_rng(k) for _ in range(4)]
        grown = [np.diff(motion.poses(n, r)[:, 2]) for n, r in zip(("zoom_in", "zoom_out"), rng)]
        assert (grown[0] < 0).all()
        assert (grown[1] > 0).all()
        turned = [np.diff(motion.poses(n, r)[:, 3]) for n, r in zip(("turn_left", "turn_right"), rng[2:])]
        assert (turned[0] > 0).all()
        assert (turned[1] < 0).all()


def test_a_random_frame_of_any_motion_has_the_same_poses() -> None:
    """Mean, spread and extremes of place and scale of a random frame, over 4,000 draws of each motion."""
    of = {}
    for name in motion.MOTIONS:
        rng = np.random.default_rng(0)
        drawn = np.stack([motion.poses(name, rng)[rng.integers(8)] for _ in range(4000)])
        across = np.hypot(drawn[:, 0], drawn[:, 1])
        of[name] = [across.mean(), across.std(), np.quantile(across, 0.95), drawn[:, 2].mean(), drawn[:, 2].std()]
    found = np.array(list(of.values()))
    assert np.abs(found - found.mean(0)).max() < 0.04 * np.abs(found.mean(0)).max()
    assert found[:, 3].std() < 0.01
    assert found[:, 4].std() < 0.01


def test_one_frame_tells_nothing(photographs: list[Path]) -> None:
    """A linear probe of the pixels, their spread and their edges in one random frame: its interval holds chance."""

    def rows(paths: list[Path], each: int, seed: int) -> ProbeSet:
        x, y = [], []
        for path in paths:
            picture = motion.photograph(str(path))
            for label, name in enumerate(motion.MOTIONS):
                for k in range(each):
                    rng = np.random.default_rng([seed, label, k, len(path.name)])
                    poses, place = motion.poses(name, rng), motion.place(picture, rng)
                    assert place is not None
                    dx, dy, scale, angle = poses[rng.integers(8)]
                    frame = motion.window(picture, place[0] + dx, place[1] + dy, np.exp(scale), angle).mean(-1) / 255
                    small = frame.reshape(8, 5, 8, 5).mean((1, 3))
                    edges = [np.abs(np.diff(frame, axis=a)).mean() for a in (0, 1)]
                    fine = [np.abs(np.diff(frame, 2, axis=a)).mean() for a in (0, 1)]
                    x.append([*small.ravel(), frame.std(), *edges, *fine])
                    y.append(label)
        return ProbeSet(torch.tensor(np.array(x), dtype=torch.float32), torch.tensor(y))

    train, dev, test = rows(photographs[:3], 12, 0), rows(photographs[3:4], 8, 1), rows(photographs[4:], 12, 2)
    found = linear_probe(train, dev, test, 13, epochs=30).test
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 1 / 13 <= found.high


def test_sources_are_whole_in_one_split_and_a_third_of_them_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "motion", motion)
    made = load("make_data")
    split = made.split_of([f"source{k}" for k in range(150)])
    assert Counter(split.values()) == {"train": 90, "dev": 22, "test": 38}
    assert split == made.split_of([f"source{k}" for k in reversed(range(150))])


def test_real_windows_move_and_are_resized_once() -> None:
    rng = np.random.default_rng(0)
    noise = np.repeat(np.repeat(rng.integers(0, 256, (1, 30, 40, 3), dtype=np.uint8), 4, 1), 4, 2)
    frames = np.concatenate([np.roll(noise, 4 * k, 2) for k in range(20)])
    found = list(motion.moving_windows(frames, 5, 2, rng))
    assert len(found) == 5
    assert all(f.shape == (8, 40, 40, 3) for f in found)
    still = np.repeat(noise, 20, 0)
    assert list(motion.moving_windows(still, 5, 2, rng)) == []


def test_a_drawing_is_no_photograph(tmp_path: Path, photographs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "motion", motion)
    made = load("make_data")
    Image.new("RGB", (200, 200), "red").save(tmp_path / "flat.png")
    assert not made.is_photograph(tmp_path / "flat.png")
    assert made.is_photograph(photographs[0])


def test_sounds_that_are_shared_are_found(tmp_path: Path, beckett: Path) -> None:
    """debian_sounds/salt1 takes ssl1's lists, which name files from where ssl1 stands."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    theirs, mine = tmp_path / "egs/debian_sounds/ssl1", tmp_path / "egs/debian_sounds/salt1"
    write_text(theirs / "data/sounds/test/wav.scp", f"a downloads/{beckett.name}\n")
    (theirs / "downloads").mkdir()
    (theirs / "downloads" / beckett.name).symlink_to(beckett)
    mine.mkdir()
    (mine / "local").symlink_to(ROOT / "egs/debian_sounds/salt1/local")
    for _ in range(2):  # a second time there is nothing to do
        subprocess.run(["bash", "local/data.sh"], cwd=mine, env=ENV, check=True)
    named = (mine / "data/sounds/test/wav.scp").read_text().split()[1]
    assert (mine / named).samefile(beckett)


def test_student_and_average_are_given_one_budget_and_the_teacher_its_steps(tmp_path: Path) -> None:
    task = copy_recipe(ROOT / "egs/toy_motion/salt1", tmp_path)
    stages = ["--stage", "fit", "--stop_stage", "fit"]

    def budgets(*options: str) -> dict[str, str | None]:
        fits = [words for words in asked(task, *stages, *options) if words[:2] == ["fit", "salt"]]
        return {w[w.index("--step") + 1]: w[w.index("--max_flops") + 1] if "--max_flops" in w else None for w in fits}

    assert budgets() == {"teacher": None, "student": None}
    assert budgets("--max_flops", "8e12") == {"teacher": None, "student": "8e12"}
    assert budgets("--step", "ema", "--max_flops", "8e12") == {"ema": "8e12"}
    with pytest.raises(ValueError, match=r"no exp/salt1/student/export-best/config.json: train and export the student"):
        budgets("--step", "ema", "--max_flops", "student")
    write_text(task / "exp/salt1/student/export-best/config.json", '{"flops": {"total": 123456789.0}}')
    assert budgets("--step", "ema", "--max_flops", "student") == {"ema": "123456789.0"}
    for options in (["--fit_args", "--max_flops 8e12"], ["--step", "teacher", "--max_flops", "8e12"]):
        with pytest.raises(ValueError, match="--max_flops is"):
            budgets(*options)


def test_features_are_kept_as_told(tmp_path: Path) -> None:
    task = copy_recipe(ROOT / "egs/k400/salt1", tmp_path)
    options = ["--stage", "extract", "--stop_stage", "extract", "--extract_args", "--dtype float16 --batch_size 8"]
    made = asked(task, *options)
    assert len(made) == 2 * 2 * 3  # teacher and student; tokens and clip; train, dev, test
    assert all(words[0] == "extract" and words[-4:] == ["--dtype", "float16", "--batch_size", "8"] for words in made)


def test_lists_and_folders_of_kinetics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = load("make_data", ROOT / "egs/k400/salt1/local")
    for k in range(12):
        path = tmp_path / "videos" / ("abseiling", "archery")[k % 2] / f"{k:02d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "test.csv").write_text("abseiling/t.mp4 abseiling\narchery/u.mp4 archery\n")
    data = tmp_path / "data"
    made.main(str(tmp_path / "videos"), str(tmp_path / "test.csv"), str(tmp_path / "videos"), str(data), "k400")
    assert "train 11, dev 1, test 2 videos of 2 classes" in capsys.readouterr().out
    sets = {s: read_items(data / s) for s in ("train", "dev", "k400/train", "k400/dev", "k400/test")}
    assert all(i.label is None for s in ("train", "dev") for i in sets[s])
    assert {i.label for i in sets["k400/train"]} == {"abseiling", "archery"}
    assert not {i.path for i in sets["k400/dev"]} & {i.path for i in sets["k400/train"]}
    (tmp_path / "both.csv").write_text(f"{tmp_path}/data/../videos/abseiling/00.mp4 abseiling\n")
    with pytest.raises(SystemExit, match="1 videos are in both lists"):
        made.main(str(tmp_path / "videos"), str(tmp_path / "both.csv"), str(tmp_path / "videos"), str(data), "k400")


@pytest.mark.parametrize("path", sorted(ROOT.glob("egs/*/salt1/conf/*.yaml")), ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_configs_of_the_recipes_go_together(path: Path) -> None:
    if path.stem == "grid":
        return
    s = settings_of("salt", read_config(str(path)))
    assert s.step == path.stem
    s.step = "teacher"
    assert check_settings(s) is None


@pytest.mark.parametrize("corpus", ["toy_motion", "debian_sounds"])
def test_the_cells_of_a_grid(corpus: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT / "egs" / corpus / "salt1")
    monkeypatch.syspath_prepend(ROOT / "recipes")
    grid = importlib.import_module("salt_grid")
    monkeypatch.setattr(grid, "step_flops", lambda s, teacher: 1e10 if s.step == "student" else 5e9)
    monkeypatch.setattr(grid, "KNOWN", {})
    cells = grid.read_points("conf/grid.yaml")
    at = {(c.name, c.seed): c for c in cells}
    assert len({c.sha256 for c in cells}) == len(cells)
    assert {s for n, s in at if n == "student@3"} == {0, 1, 2}
    assert {s for n, s in at if n == "student@1"} == {0}
    first, last = at["student@0", 0], at["student@3", 0]
    assert first.stable == last.stable != at["ema@0", 0].stable
    steps, budget = at["teacher", 0].settings().run.max_steps, read_config("conf/grid.yaml")["budgets"][-1]
    assert last.encoder().flops["teacher"] == at["teacher", 0].encoder().flops["total"] == steps * 5e9
    assert budget - 1e10 < last.encoder().flops["total"] <= budget
    steps, decay = last.length()
    assert decay == round(0.2 * steps)
    assert at["student@3", 1].teacher is at["teacher", 1]
    assert "h in all" in grid.forecast(cells, {"gflops": 45, "read_s": 0.1, "probe_s": 60})
    if corpus == "toy_motion":
        half = at["long_teacher", 0].encoder().flops["total"]
        assert half == pytest.approx(0.5 * at["even_split", 0].encoder().flops["total"], rel=0.01)
    working, most = [], []

    def fit(cell: object, exp: Path, keys: dict[str, object]) -> None:
        if exp == first.stable:
            working.append(exp)
            most.append(len(working))
            time.sleep(0.2)
            working.pop()

    monkeypatch.setattr(grid, "fit", fit)
    monkeypatch.setattr(grid, "run", lambda *words: None)
    monkeypatch.chdir(tmp_path)
    two = [at["student@0", 0], at["student@1", 0]]
    grid.work_through(two, 2, lambda cell: grid.attempt(cell, lambda: grid.train(cell)))
    assert most == [1, 1]  # two points of one run at once do not both train it
    assert grid.fit_of([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == "1.000 rises"


def test_the_untrained_encoder_stands_beside_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT / "egs/toy_motion/salt1")
    monkeypatch.syspath_prepend(ROOT / "recipes")
    grid = importlib.import_module("salt_grid")
    monkeypatch.setattr(grid, "step_flops", lambda s, teacher: 5e9)
    monkeypatch.setattr(grid, "KNOWN", {})
    cell = next(c for c in grid.read_points("conf/grid.yaml") if c.name == "untrained")
    assert cell.length()[0] == 1
    for name in ("ema.yaml", "grid.yaml"):
        (tmp_path / "conf").mkdir(exist_ok=True)
        (tmp_path / "conf" / name).write_text(Path("conf", name).read_text())
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(grid, "run", lambda cell, *words: said.append(words))
    monkeypatch.chdir(tmp_path)
    grid.train(cell)
    assert "--run.max_steps=1" in said[0]
    assert said[1][0] == "export"
    assert said[1][-2:] == ("--checkpoint", "init")
    write_text(Path(cell.export) / "config.json", '{"flops": {}}')
    write_text(cell.folder / "config.yaml", "audiokd: {commit: abc}")
    found = {"mean": 0.6, "low": 0.5, "high": 0.7}
    for task in ("motion", "direction"):
        for head in ("attentive", "linear", "knn"):
            write_text(cell.folder / "scores" / f"{task}-{head}.json", json.dumps({"test": found, "chance": 0.1}))
    monkeypatch.setattr(grid, "read_metrics", lambda path: {"loss": {"val": ([1], [9.0])}})
    grid.finish(cell)
    table = grid.tables([cell])
    assert "| untrained | 1 | 0 | 0 | - | 0.600" in table
    assert "| all teachers | 0 | - " in table  # its loss says nothing of training


def test_the_loss_is_held_against_the_score_within_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "egs/toy_motion/salt1")
    monkeypatch.syspath_prepend(ROOT / "recipes")
    grid = importlib.import_module("salt_grid")
    cells = [c for c in grid.read_points("conf/grid.yaml") if c.name.startswith(("student@", "of_small_teacher@"))]
    rows = {}
    for cell in cells:
        k = (
            cell.stops.index(cell.budget) - cell.seed
        )  # further seeds lie on another line: they have a teacher of their own
        loss, score = (5.0 - k, 0.1 * k) if cell.name.startswith("student") else (1.0 - 0.1 * k, 0.1 * k)
        scores = {f"{t}-{h}": score for t in ("motion", "direction") for h in ("attentive", "linear", "knn")}
        within = {name: [score, score] for name in scores}
        loss += 10 * cell.seed
        flops = {"total": 1.0 + k, "teacher": 1.0, "steps": 7}
        chance = dict.fromkeys(scores, 0.05)
        rows[cell.sha256] = {
            "scores": scores, "intervals": within, "chance": chance, "validation": {"loss": loss}, "flops": flops,
        }  # fmt: skip
    monkeypatch.setattr(grid, "finished", lambda: rows)
    table = grid.tables(cells)
    assert "| student | 4 | 1.000 falls" in table
    assert "| of_small_teacher | 4 | 1.000 falls" in table
    pooled = re.search(r"\| all students \| 8 \| ([\d.]+)", table)  # of two targets, whose losses do not compare
    assert pooled
    assert float(pooled[1]) < 0.5


def test_curves_of_a_grid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A line a run, at its operations; further seeds stand at the budget of the first."""
    from matplotlib.axes import Axes

    monkeypatch.chdir(ROOT / "egs/toy_motion/salt1")
    monkeypatch.syspath_prepend(ROOT / "recipes")
    grid = importlib.import_module("salt_grid")
    names = ("untrained", "teacher", "student@", "ema@")
    cells = [c for c in grid.read_points("conf/grid.yaml") if c.name.startswith(names)]
    rows = {}
    for cell in cells:
        k = 3 if cell.seed or len(cell.stops) < 2 else cell.stops.index(cell.budget)
        scores = {f"{t}-{h}": 0.2 * k + 0.01 * cell.seed for t in ("motion", "direction") for h in ("attentive",)}
        rows[cell.sha256] = {
            "scores": scores, "chance": dict.fromkeys(scores, 0.05), "flops": {"total": 1.0 + k + 0.1 * cell.seed},
        }  # fmt: skip
    monkeypatch.setattr(grid, "finished", lambda: rows)
    drawn: dict[str, tuple[list[float], list[float], list[list[float]]]] = {}
    errorbar = Axes.errorbar

    def seen(self: Axes, x: list[float], y: list[float], *more: list[list[float]], **how: str) -> object:
        drawn[how["label"]] = (x, y, *more)
        return errorbar(self, x, y, *more, **how)

    monkeypatch.setattr(Axes, "errorbar", seen)
    grid.plot(cells, str(tmp_path / "curves.svg"))
    assert sorted(drawn) == ["ema", "student", "teacher"]
    at, score, (below, above) = drawn["student"]
    assert at == [1.0, 2.0, 3.0, 4.0]
    assert score == pytest.approx([0.0, 0.2, 0.4, 0.61])
    assert (below, above) == (pytest.approx([0, 0, 0, 0.01]), pytest.approx([0, 0, 0, 0.01]))
    assert "operations of the whole training" in (tmp_path / "curves.svg").read_text()
