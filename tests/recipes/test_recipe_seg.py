"""recipes/seg.sh and seg_bench.py: rendered city blocks from end to end, published layouts, the benchmark."""

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
from PIL import Image
from recipe_copies import ENV, REPO, copy_recipe, tree
from tiny_buildings import save_tiles

from audiokd.data.buildings import STRATA, draw, read_buildings, stratum
from audiokd.data.items import read_items
from audiokd.data.masks import load_mask
from audiokd.methods.building_sda.run import check_settings
from audiokd.stages.fit import read_config
from audiokd.stages.validate import validate

TOY = REPO / "egs" / "offnadir_toy" / "seg1"
RUN = "--run.max_steps 2 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu --data.num_workers 0"
SMALL = f"{RUN} --data.batch_size 2 --data.crop 32 --model.weights="
STUDENT = f"{SMALL} --model.encoder test_efficientnet"


def make(data: Path, *sizes: int) -> None:
    command = [sys.executable, str(TOY / "local" / "make_data.py"), str(data), *map(str, sizes)]
    done = subprocess.run(command, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(task: Path, *options: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["./run.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "data"
    make(folder, 6, 4, 3, 4)
    return folder


def test_labels_are_off_by_the_lean_alone(data: Path) -> None:
    """A noisy mask is of footprints; a clean one of the same outlines moved by their offsets, but for what is hidden."""
    for split, is_noisy in (
        ("train-noisy", True),
        ("dev-noisy", True),
        ("train-clean", False),
        ("dev", False),
        ("test", False),
    ):
        tiles = read_buildings(data / split)
        for item in read_items(data / split):
            mask, buildings = load_mask(item, (96, 96)), tiles[item.id].buildings
            roofs = draw((b.roof for b in buildings), (96, 96)) > 0
            grounds = draw((b.footprint for b in buildings), (96, 96)) > 0
            if is_noisy:
                assert np.array_equal(mask, grounds)
            else:
                assert (mask & ~roofs).mean() < 0.05  # pixels that a border divides
                assert (mask & roofs).sum() > 0.5 * roofs.sum()
            for b in buildings:
                assert b.height_m is not None
                assert b.offset is not None
                angle = np.degrees(np.arctan(np.hypot(*b.offset) * (tiles[item.id].gsd_m or 0) / b.height_m))
                assert 4.9 < angle < 20.1
            assert item.domain in (*STRATA, None)
            highest = max((b.height_m or 0 for b in buildings), default=None)
            assert item.domain == stratum(highest)


def test_the_same_bytes_again(data: Path, tmp_path: Path) -> None:
    """And a larger set holds the tiles of a smaller one."""
    make(tmp_path / "data", 7, 4, 3, 4)
    again, first = tree(tmp_path / "data"), tree(data)
    assert first.items() - again.items() == {
        (k, first[k]) for k in ("train-noisy/items.jsonl", "train-noisy/buildings.jsonl")
    }


def test_no_picture_is_in_two_sets_and_all_are_valid(data: Path) -> None:
    pictures = [p.read_bytes() for p in data.glob("*/pictures/*.png")]
    assert len(set(pictures)) == len(pictures) == 20
    for split in ("train-noisy", "dev"):
        report = validate(str(data / split))
        assert (report["ok"], report["images"], report["warnings"]) == (True, [], [])


def test_adaptation_from_nothing_to_a_table(tmp_path: Path) -> None:
    task = copy_recipe(TOY, tmp_path)
    options = ["--data_args", "--weights false --noisy 4 --clean 3 --dev 2 --test 3"]
    options += [
        "--pretrain_args",
        f"--config conf/pretrain.yaml {STUDENT}",
        "--fit_args",
        SMALL.replace(" --model.weights=", ""),
    ]
    run(task, *options)
    found = json.loads((task / "exp/sda/adapt/best-test.json").read_text())
    assert (found["system"], found["rows"]) == ("sda", 3)
    assert set(found["by_height"]) <= set(STRATA)
    assert "| all | 3 |" in (task / "exp/sda/adapt/best-test.md").read_text()
    config = json.loads((task / "exp/sda/adapt/export-best/config.json").read_text())
    assert (config["network"], config["encoder"], config["model_type"]) == ("unet", "test_efficientnet", "building_sda")
    regime = json.loads((task / "exp/sda/adapt/regime.json").read_text())
    assert regime["before"]["model.init"]["steps"][0]["name"] == "pretrain"
    assert regime["test"]["count"] == 3
    said = run(task, *options)  # all of it is done
    assert said.stderr.count("stage 5: fit") == 2
    assert "2 steps are done already" in said.stdout
    # the others stand on the same network
    init = ["--init", "exp/sda/pretrain/export-best", "--stage", "fit"]
    for method in ("kd", "dml"):
        run(task, "--method", method, *init, "--fit_args", STUDENT)
        assert json.loads((task / f"exp/{method}/{method}/best-test.json").read_text())["rows"] == 3


def test_what_the_script_refuses(tmp_path: Path) -> None:
    task = copy_recipe(TOY, tmp_path)
    for options, said in (
        (("--method", "distil"), "--method is sda, noisy, clean, kd or dml"),
        (("--step", "kd"), "the steps of sda are pretrain adapt, not kd"),
        (("--method", "clean", "--init", "x"), "clean begins with an encoder's weights"),
    ):
        assert said in run(task, *options, ok=False).stderr


@pytest.mark.parametrize("name", ["whu", "massachusetts"])
def test_layouts_of_clean_sets(name: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "whu" / "seg1", tmp_path)
    root = task / "downloads" / name
    for number, split in enumerate(("train", "val", "test")):
        source = save_tiles(tmp_path / "made" / split, 4, seed=number)
        pictures, masks = (
            (root / split / "image", root / split / "label")
            if name == "whu"
            else (root / split, root / f"{split}_labels")
        )
        pictures.mkdir(parents=True)
        masks.mkdir(parents=True)
        for item in read_items(source):
            Image.open(item.path).save(pictures / f"{item.id}.tif")
            mask = Image.open(item.mask or "")
            red = Image.merge("RGB", (mask, Image.new("L", mask.size), Image.new("L", mask.size)))
            (mask if name == "whu" else red).save(masks / f"{item.id}.tif")
    run(task, "--data_args", f"--corpus downloads/{name} --set {name}", "--fit_args", STUDENT)
    found = json.loads((task / "exp/clean/pretrain/best-test.json").read_text())
    assert found["rows"] == 4
    assert "by_height" not in found


def test_bonais_layout(tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "bonai" / "seg1", tmp_path)
    root = task / "downloads" / "BONAI"
    (root / "coco").mkdir(parents=True)
    for split, count in (("trainval", 24), ("test", 3)):
        (root / split / "images").mkdir(parents=True)
        source = save_tiles(tmp_path / "made" / split, count, seed=len(split))
        images, annotations = [], []
        for number, (item, tile) in enumerate(zip(read_items(source), read_buildings(source).values())):
            Image.open(item.path).save(root / split / "images" / f"{item.id}.png")
            images.append({"id": number, "file_name": f"{item.id}.png", "width": 32, "height": 32})
            for b in tile.buildings:
                flat = [v for corner in b.footprint for v in corner]
                roof = [v + (3, 2)[k % 2] for k, v in enumerate(flat)]
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": number,
                        "category_id": 1,
                        "segmentation": [roof],
                        "footprint_mask": flat,
                        "offset": [3, 2],
                        "building_height": b.height_m,
                    }
                )
        (root / "coco" / f"bonai_shanghai_{split}.json").write_text(
            json.dumps({"images": images, "annotations": annotations})
        )
    options = ["--pretrain_args", STUDENT, "--fit_args", SMALL.replace(" --model.weights=", "")]
    run(task, "--data_args", "--clean 0.25 --dev 0.15", *options)
    sets = {
        s: {i.id for i in read_items(task / "data" / s)} for s in ("train-noisy", "dev-noisy", "train-clean", "dev")
    }
    assert sum(map(len, sets.values())) == len(set().union(*sets.values())) == 24
    found = json.loads((task / "exp/sda/adapt/best-test.json").read_text())
    assert found["rows"] == 3
    assert set(found["by_gsd"]) == {"0.6 m"}
    assert found["by_height"]


@pytest.mark.parametrize("recipe", ["whu", "bonai"])
def test_what_is_not_there_is_said(recipe: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / recipe / "seg1", tmp_path)
    assert "downloads" in run(task, "--stop_stage", "data", ok=False).stderr


@pytest.mark.parametrize("path", sorted(REPO.glob("egs/*/seg1/conf/*e.yaml")), ids=lambda p: f"{p.parts[-4]}-{p.stem}")
def test_configs_are_read(path: Path) -> None:
    check_settings(settings_of("building_sda", read_config(str(path))))


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "recipes")
    monkeypatch.chdir(TOY)


def test_the_grid_is_read(recipes: None) -> None:
    import kd_grid

    cells = kd_grid.read_cells("conf/grid.yaml")
    assert len(cells) == 5 * 3 + 3
    assert {c.seed for c in cells if c.method in ("sda", "noisy", "clean", "kd", "dml")} == {0, 1, 2}
    for cell in cells:
        assert cell.score == ("segments", {})
        assert {of.seed for of in cell.needs.values()} <= {cell.seed}
        for fit in cell.fits:
            files = [read_config(f) for f in kd_grid.configs_of(fit)]
            check_settings(settings_of("building_sda", *files, {k: cell.filled(v) for k, v in fit["options"].items()}))


def test_the_table_shows_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made-up rows of every cell: --tables says which is better, over all heights and by each, and what kd's teacher has."""
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(TOY)
    cells = grid.read_cells("conf/grid.yaml")
    level = {"noisy": 0.5, "clean": 0.6, "clean_long": 0.61, "kd": 0.65, "dml": 0.66, "sda": 0.8,
             "sda_gradual": 0.82, "sda_discriminative": 0.81}  # fmt: skip
    assert {c.method for c in cells} == level.keys()
    rows = []
    for cell in cells:
        of, shift = level[cell.method], 0.01 * (cell.seed - 1)
        parts = {f"f1_{name}": of - 0.05 * k for k, name in enumerate(STRATA)}
        scores = {"f1": of + shift, "iou": of - 0.1, "f1_per_image": of - 0.02, "in_domain": of, **parts}
        if cell.method == "kd":
            scores["teacher_in_domain"] = level["noisy"]
        rows.append({
            "config_sha256": cell.sha256, "seed": cell.seed, "system": f"grid/{cell.name}", "method": cell.method,
            "domain": None, "parameters": 4_600_000, "latency_ms": 9.5, "seconds": 120.0, "intervals": {},
            "scores": {f"best.{k}": v for k, v in scores.items()},
        })  # fmt: skip
    shutil.copytree(TOY / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr(sys, "argv", ["kd_grid.py", "conf/grid.yaml", "--tables"])
    grid.main()
    head, _, *lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("|")]
    names = [x.strip() for x in head.strip("|").split("|")]
    assert names == ["cell", "seeds", "f1", "iou", "f1_per_image", *(f"f1_{s}" for s in STRATA), "in domain", "its teacher",
                     "parameters", "ms a picture"]  # fmt: skip
    table = {v[0]: dict(zip(names, v)) for v in ([x.strip() for x in line.strip("|").split("|")] for line in lines)}
    assert sorted(table, key=lambda m: float(table[m]["f1"].split()[0])) == sorted(level, key=lambda m: level[m])
    assert table["sda"]["f1"] == "0.800 (0.790 to 0.810)"
    assert (table["sda"]["seeds"], table["clean_long"]["seeds"]) == ("3", "1")
    assert table["kd"]["its teacher"].startswith("0.500")
    assert table["sda"]["its teacher"] == "-"
    for stratum_of in STRATA:
        assert float(table["sda"][f"f1_{stratum_of}"].split()[0]) > float(table["noisy"][f"f1_{stratum_of}"].split()[0])


def test_the_benchmark_is_read(recipes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import seg_bench

    bench = seg_bench.read_benchmark("conf/benchmark.yaml", "here")
    assert len(bench["encoders"]) == 6
    stages = list(seg_bench.stages(bench, "conf/benchmark.yaml", False))  # by the results that are committed
    assert [len(s) for s in stages] == [6, 5, 9, 8]
    first = stages[0]
    assert [c.encoder for c in first] == bench["encoders"]
    assert {c.encoder for c in stages[3]} == {"resnet18"}
    monkeypatch.setattr(seg_bench, "finished", dict)
    assert len(list(seg_bench.stages(bench, "conf/benchmark.yaml", False))) == 1  # nothing is scored: no second one yet
    whole = seg_bench.read_benchmark("conf/benchmark.yaml", "all")
    (product,) = seg_bench.stages(whole, "conf/benchmark.yaml", True)
    assert len(product) == len(set(product)) == 43 * 5 * 9 * 8
    for choice in (first[0], product[-1]):
        (cell,) = seg_bench.cells_of(bench, choice, "conf/benchmark.yaml")
        check_settings(settings_of("building_sda", read_config("conf/base.yaml"), cell.fits[0]["options"]))
    assert seg_bench.front([(3.0, 0.5), (1.0, 0.4), (2.0, 0.3), (4.0, 0.6), (1.0, 0.2)]) == [1, 0, 3]


@pytest.mark.slow
def test_the_benchmark_goes_from_stage_to_stage(tmp_path: Path) -> None:
    """Encoders, optimisers, losses, networks, each with the best so far; a second run does nothing; a table and a plot."""
    task = copy_recipe(TOY, tmp_path)
    for seed, split in enumerate(("train-clean", "dev", "test")):
        save_tiles(task / "data" / split, 4, seed=seed)
    bench = yaml.safe_load((TOY / "conf" / "benchmark.yaml").read_text())
    bench |= {
        "encoders": ["test_resnet", "test_efficientnet", "densenet121"], "here": ["test_resnet", "test_efficientnet"],
        "optimizers": ["adam", "sgd"], "losses": ["dice", "bce"], "networks": ["unet", "fpn"],
        "options": {"step": "pretrain", "run.max_steps": 2, "run.val_every": 2, "run.log_every": 1, "data.batch_size": 2},
    }  # fmt: skip
    bench["options"]["data.crop"] = 32
    (task / "conf" / "small.yaml").write_text(yaml.safe_dump(bench))
    command = [sys.executable, "../../../recipes/seg_bench.py", "conf/small.yaml"]

    def ask(*more: str) -> str:
        done = subprocess.run(
            [*command, *more], cwd=task, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    said = ask()
    assert said.count(": done\n") == 5  # two encoders, and one more of each of the other three
    assert ": done\n" not in ask()
    rows = [json.loads(line) for line in (task / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    assert all(r["parameters"] and r["latency_ms"] and r["scores"]["best.f1"] is not None for r in rows)
    table = ask("--tables", "--plot", "exp/pareto.png")
    assert table.count("| test_") == 5
    assert "parameters, latency" in table or "| latency |" in table
    with Image.open(task / "exp" / "pareto.png") as image:
        assert image.width > 500
    assert "| all |" in ask("--forecast")
