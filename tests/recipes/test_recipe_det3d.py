"""recipes/det3d.sh: the made-up city's drives, nuScenes' layout from end to end of its data stage, the grid."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from grid_scripts import load_grid
from recipe_copies import ENV, REPO, copy_recipe, tree
from tiny_nuscenes import write_nuscenes

from audiokd.data.boxes3d import moved_points, points_in_boxes
from audiokd.data.frames3d import Frames3d, read_points
from audiokd.data.nuscenes import CLASSES, SPLITS
from audiokd.stages.validate import validate

TOY, NUSCENES = (REPO / "egs" / n / "det3d1" for n in ("toy_city", "nuscenes"))


def make(data: Path, *sizes: int) -> None:
    command = [sys.executable, str(TOY / "local" / "make_data.py"), str(data), *map(str, sizes)]
    done = subprocess.run(command, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(task: Path, *options: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    env = {**ENV, "PYTHONPATH": str(REPO)}
    done = subprocess.run(["./run.sh", *options], cwd=task, env=env, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "data"
    make(folder, 3, 1, 2, 2)
    return folder


def test_points_lie_on_what_they_are_of(city: Path) -> None:
    """Objects have as many points as the line says, but for the lidar's noise; nothing is below the ground or out of reach."""
    frames = Frames3d(city / "train")
    said, counted = [], []
    for item, frame in zip(frames.items, frames):
        wider = frame.boxes + np.array([0, 0, 0, 0.15, 0.15, 0.1, 0, 0, 0])
        own = frame.points[(frame.points[:, 4] == 0) & (frame.points[:, 2] > 0.08)]
        counted += points_in_boxes(own, wider).sum(0).tolist()
        said += [o.num_points for o in item.objects]
        assert frame.points[:, 2].min() > -0.2
        assert np.linalg.norm(frame.points[:, :3], axis=1).max() < 42
        assert np.allclose(np.unique(frame.points[:, 4]), [0, 0.15, 0.3])
        assert (np.abs(frame.boxes[:, :2]) < 25.6).all()
        assert np.isfinite(frame.marks).all()
    assert np.corrcoef(said, counted)[0, 1] > 0.99
    assert np.median(np.abs(np.subtract(said, counted)) / np.maximum(said, 1)) < 0.1
    assert min(said) >= 1


def test_the_far_are_sparse_and_the_hidden_are_gone(city: Path) -> None:
    """Cars have fewer points the further they are; behind a box near the car there is no point of the ground."""
    far, points = [], []
    for split in ("train", "dev", "test"):
        for item in Frames3d(city / split).items:
            for o in item.objects:
                if o.label == "car":
                    far.append(float(np.hypot(*o.box[:2])))  # type: ignore[index]
                    points.append(o.num_points or 0)
    near = np.array(far) < np.median(far)
    assert np.mean(np.array(points)[near]) > 3 * np.mean(np.array(points)[~near])
    shadows = 0
    for frame in Frames3d(city / "train"):
        ground = frame.points[(frame.points[:, 4] == 0) & (frame.points[:, 2] < 0.1)]
        for box in frame.boxes[
            (np.hypot(*frame.boxes[:, :2].T) < 12) & (frame.boxes[:, 3] > 3.5) & (frame.boxes[:, 5] > 2.2)
        ]:
            distance = np.hypot(*box[:2])
            behind = np.array([*(box[:2] * (distance + box[3] / 2 + 1.5) / distance), 0.0])
            if distance + box[3] / 2 + 1.5 < 22:
                shadows += 1
                assert not (np.linalg.norm(ground[:, :2] - behind[:2], axis=1) < 0.5).any()
    assert shadows > 3


def test_older_sweeps_lie_where_the_world_stands(city: Path) -> None:
    """Points of things that stand coincide once moved; those of what drives lag by its way. A few hide behind what drove past."""
    frames = Frames3d(city / "train")
    seen: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
    for item, frame in zip(frames.items, frames):
        sweep = item.sweeps[1]
        older = moved_points(read_points(item, sweep["path"]), np.array(sweep["transform"]))
        for box, o in zip(frame.boxes, item.objects):
            speed = float(np.hypot(*box[7:]))
            if (o.num_points or 0) < 15 or 0 < speed < 4:
                continue
            back = box.copy()
            back[:2] -= sweep["age"] * box[7:]
            wider = np.array([0, 0, 0, 0.15, 0.15, 0.1, 0, 0, 0])
            there, here = (int(points_in_boxes(older, (b + wider)[None]).sum()) for b in (back, box))
            seen[speed > 0].append((there, here, o.num_points or 0))
    for rows in seen.values():
        there, _, now = np.array(rows).T
        assert (there > 0.5 * now).mean() > 0.8
    there, here, _ = np.array(seen[False]).T
    assert np.array_equal(there, here)
    there, here, _ = np.array(seen[True]).T
    assert here.sum() < 0.95 * there.sum()


def test_cameras_see_the_boxes(city: Path) -> None:
    """Where a large near thing is to be seen the picture has its colours: not those of road, grass and sky beside it."""
    found = []
    for frame in Frames3d(city / "train"):
        assert len(frame.images) == 6
        assert {i.shape for i in frame.images} == {(96, 160, 3)}
        for box in frame.boxes[(frame.boxes[:, 3] > 6) & (np.hypot(*frame.boxes[:, :2].T) < 14)]:
            for image, matrix, to_camera in zip(frame.images, frame.intrinsics, frame.to_camera):
                place = to_camera[:3, :3] @ box[:3] + to_camera[:3, 3]
                u, v, ahead = matrix @ place
                if ahead > 3 and 10 < u / ahead < 150 and 10 < v / ahead < 86:
                    patch = image[int(v / ahead) - 3 : int(v / ahead) + 4, int(u / ahead) - 3 : int(u / ahead) + 4]
                    sky = image[:3].reshape(-1, 3).mean(0)
                    found.append(np.linalg.norm(patch.reshape(-1, 3).mean(0) - sky) > 40)
    assert len(found) > 5
    assert np.mean(found) > 0.8


def test_the_same_bytes_again(city: Path, tmp_path: Path) -> None:
    """And a larger set holds the drives of a smaller one."""
    make(tmp_path / "data", 4, 1, 2, 2)
    again, first = tree(tmp_path / "data"), tree(city)
    changed = {k for k, v in first.items() if again.get(k) != v}
    assert changed <= {"train/items.jsonl", "train/validate.json"}
    lines = ((folder / "train" / "items.jsonl").read_text().splitlines() for folder in (city, tmp_path / "data"))
    assert next(lines) == next(lines)[:6]


def test_no_drive_is_in_two_sets_and_all_are_valid(city: Path) -> None:
    labels: set[str] = set()
    files = [p.read_bytes() for p in city.glob("*/points/*.bin")]
    assert len(set(files)) == len(files) == 12
    for split in ("train", "dev", "test"):
        report = validate(str(city / split))
        assert (report["bad"], report["scenes"]) == (0, {"train": 3, "dev": 1, "test": 2}[split])
        assert {w["what"].split(" of ")[0] for w in report["warnings"]} <= {"no object"}
        labels |= {n for n, count in report["boxes"].items() if count}
    assert labels == set(CLASSES)


def test_the_first_stages_of_the_city(tmp_path: Path) -> None:
    task = copy_recipe(TOY, tmp_path)
    sizes = "--weights false --train 10 --dev 1 --test 1 --frames 1 --rates"
    env = {**ENV, "PYTHONPATH": str(REPO)}
    subprocess.run(["./local/data.sh", *sizes.split(), "20 100"], cwd=task, env=env, check=True, capture_output=True)
    assert all(f.boxed.all() for f in Frames3d(task / "data" / "train-100"))
    run(task, "--stop_stage", "validate", "--rate", "20", "--data_args", f"{sizes} 20")
    weak = Frames3d(task / "data" / "train-20")
    assert [bool(f.boxed.all()) for f in weak] == [True] * 2 + [False] * 8
    assert json.loads((task / "data" / "train-20" / "regime.json").read_text())["annotation"]["rate"] == 0.2
    # marks are those of the whole set
    assert all(np.allclose(a.marks, b.marks, atol=1e-3) for a, b in zip(weak, Frames3d(task / "data" / "train")))


def test_what_the_script_refuses(tmp_path: Path) -> None:
    task = copy_recipe(TOY, tmp_path)
    for options, said in (
        (("--method", "half"), "--method is full, boxes or points"),
        (("--method", "full", "--step", "teacher"), "the steps of full are labeller, not teacher"),
        (("--stage", "extract", "--run", "exp/none"), "--run exp/none: no run of 'audiokd fit' is there"),
    ):
        assert said in run(task, *options, ok=False).stderr


def test_turned_scenes_are_scored_where_they_are_asked_for(tmp_path: Path) -> None:
    """The last step's model alone, every turn and none, all within one circle."""
    task = copy_recipe(TOY, tmp_path)
    said = tmp_path / "said"
    (tmp_path / "audiokd").write_text(f'#!/bin/sh\necho "$*" >> {said}\n')
    (tmp_path / "audiokd").chmod(0o755)
    env = {**ENV, "PATH": f"{tmp_path}:{ENV['PATH']}"}

    def lines(*options: str) -> list[str]:
        said.unlink(missing_ok=True)
        subprocess.run(["./run.sh", "--stage", "extract", *options], cwd=task, env=env, check=True, capture_output=True)
        return said.read_text().splitlines()

    plain = lines()
    assert [x.split()[0] for x in plain] == ["detect3d", "boxes", "report"]
    assert not any("turn" in x or "within" in x for x in plain)
    turned = lines("--turns", "15 90", "--within_m", "20", "--score_args", "--range_m 9")
    run = "exp/points-05/student"
    assert turned[:2] == [x + " --range_m 9" * (x.split()[0] == "boxes") for x in plain[:2]]
    assert turned[-1] == plain[-1]
    want = []
    for degrees in (0, 15, 90):
        found = f"{run}/best-test" + f"-turn{degrees}" * bool(degrees)
        if degrees:
            want.append(
                f"detect3d {run}/export-best data/test {found} --device cpu --max_error_rate 0.01 --turn_degrees {degrees}"
            )
        want.append(
            f"boxes {found} --data data/test --out {run}/boxes/best-test-turn{degrees}.json "
            f"--system exp/points-05, turned by {degrees} degrees --range_m 9 --within_m 20"
        )
    assert turned[2:-1] == want
    # a model of the grid, which has no folder of steps
    other = "exp/grid/full-0-0123abcd/point_detr3d"
    (task / other).mkdir(parents=True)
    (task / other / "config.yaml").write_text("")
    of_grid = lines("--turns", "15 90", "--within_m", "20", "--score_args", "--range_m 9", "--run", other)
    assert of_grid == [x.replace(run, other).replace("exp/points-05", other) for x in turned]


def test_nuscenes_layout(tmp_path: Path) -> None:
    task = copy_recipe(NUSCENES, tmp_path)
    assert "no downloads/nuscenes/v1.0-mini: download nuScenes" in run(task, "--stop_stage", "data", ok=False).stderr
    write_nuscenes(task / "downloads" / "nuscenes", (*SPLITS["mini_train"], *SPLITS["mini_val"]), frames=2)
    run(task, "--stop_stage", "validate", "--rate", "20", "--data_args", "--rates 20")
    sets = {s: Frames3d(task / "data" / s) for s in ("train", "dev", "test", "train-20")}
    assert {k: len(v) for k, v in sets.items()} == {"train": 14, "dev": 2, "test": 4, "train-20": 14}
    scenes = {k: {i.scene for i in v.items} for k, v in sets.items()}
    assert scenes["train"] | scenes["dev"] == set(SPLITS["mini_train"])
    assert scenes["test"] == set(SPLITS["mini_val"])
    assert not scenes["train"] & scenes["dev"]
    assert sum(bool(f.boxed.any()) for f in sets["train-20"]) == 2
    assert all(np.isfinite(f.marks).all() for f in sets["test"])


def test_the_grid_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell's students learn from their own teacher's boxes, of their own seed and rate; none sees the test set."""
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(TOY)
    cells = grid.read_cells("conf/grid.yaml")
    of = {(c.method, c.seed): c for c in cells}
    three = {"full", "boxes_05", "plain_05", "explicit_05", "roi_05", "roi_guided_05"}
    three |= {f"teacher_{k}_05" for k in ("plain", "explicit", "roi")}
    one = {f"{k}_{r}" for k in ("boxes", "teacher_roi", "roi_guided") for r in ("02", "10", "20", "50")}
    assert set(of) == {(m, s) for m in three for s in (0, 1, 2)} | {(m, 0) for m in one}
    for (method, seed), cell in of.items():
        assert (cell.score[0], cell.export) == ("boxes", ("best",))
        rate = method.rsplit("_", 1)[-1]
        for needed in cell.needs.values():
            assert needed.seed == seed
            assert method == "full" or needed.name.endswith(rate)
        for fit in cell.fits:
            given = {k: cell.filled(v) for k, v in fit["options"].items()}
            assert given["data.test"] == ["data/test"]
            assert fit["train"] == ("data/train" if method == "full" else f"data/train-{rate}")
            if given["step"] == "student":
                (teacher,) = cell.needs.values()
                assert teacher.fits[0]["boxes"] == fit["train"] == teacher.fits[0]["train"]
                assert given["data.pseudo"] == f"{teacher.folder}/{teacher.name}/boxes"
                assert ("loss.point_guided" in given) == ("guided" not in method)
    options = {
        m: of[f"teacher_{m}_05", 1].needs[f"teacher_{m}_05"].fits[0]["options"] for m in ("plain", "explicit", "roi")
    }
    assert (options["plain"]["teacher.query"], options["plain"]["teacher.roi"]) == ("mlp", False)
    assert options["explicit"]["teacher.roi"] is False
    assert not {"teacher.query", "teacher.roi"} & options["roi"].keys()


def test_boxes_of_an_earlier_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """{teacher_boxes} of a run of the cell's own, of a shared one; of one without `boxes` it stands for nothing."""
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(tmp_path)
    teacher = {"name": "teacher", "method": "point_detr3d", "boxes": "data/weak"}
    student = {"name": "student", "method": "point_detr3d", "options": {"data.pseudo": "{teacher_boxes}"}}
    base = {"train": "a", "dev": "b", "test": "c", "score": "boxes"}

    def read(made: dict[str, object]) -> list[object]:
        Path("grid.yaml").write_text(yaml.safe_dump({**base, **made}, sort_keys=False))
        return grid.read_cells("grid.yaml")

    (own,) = read({"cells": {"x": {"fits": [teacher, student]}}})
    assert own.filled("{teacher_boxes} {teacher}") == f"{own.folder}/teacher/boxes {own.folder}/teacher/export"
    (shared,) = read(
        {"shared": {"teacher": {k: v for k, v in teacher.items() if k != "name"}}, "cells": {"x": {"fits": [student]}}}
    )
    assert shared.filled("{teacher_boxes}") == f"{shared.needs['teacher'].folder}/teacher/boxes"
    bare = {k: v for k, v in teacher.items() if k != "boxes"}
    lone = {"shared": {"teacher": {"method": "point_detr3d"}}, "cells": {"x": {"fits": [student]}}}
    for made in ({"cells": {"x": {"fits": [bare, student]}}}, lone):
        with pytest.raises(grid.ConfigError, match=r"\{teacher_boxes\} stands for nothing"):
            read(made)
    # what a run finds is asked once it is exported, and before the next run
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(grid, "run", lambda cell, *words: said.append(words))
    for fit in own.fits:
        grid.look(own, fit)
    assert said == [("detect3d", f"{own.folder}/teacher/export", "data/weak", f"{own.folder}/teacher/boxes")]


def test_what_a_row_says_of_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "recipes")
    from kd_scores import of_boxes

    part = {
        "objects": 3,
        "boxes": 3,
        "iou": 0.5,
        "centre_error_m": None,
        "recall": 0.6,
        "recall_2m": 1.0,
        "label_accuracy": 1.0,
    }
    found = {
        "scores": {"map": {"mean": 0.4, "low": 0.3, "high": 0.5, "n": 2}, "aae": {"mean": None}},
        "settings": {"bands": [10.0, 20.0]},
        "quality": {"all": part, "by_range": {"0-10 m": part, "20+ m": part}, "by_points": {"0-4": part}},
    }
    scores = of_boxes(found)
    assert scores["map"]["low"] == 0.3
    assert "aae" not in scores
    assert {k for k in scores if k.startswith("iou")} == {"iou", "iou_near", "iou_far", "iou_0-4"}
    assert scores["recall_far"] == {"mean": 0.6}
    assert not any(k.startswith("centre_error") for k in scores)
