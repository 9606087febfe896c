"""recipes/anomaly.sh from MVTec AD's and DCASE's layouts to scores; what egs/textures/ad1 makes of photographs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from method_settings import settings_of
from PIL import Image
from recipe_copies import ENV, REPO, copy_recipe, tree
from tiny_textures import write_mvtec

from audiokd.data.items import read_items
from audiokd.data.masks import load_mask
from audiokd.data.tiles import read_tiles, stitch
from audiokd.methods.dbfad.run import check_settings
from audiokd.stages.fit import read_config

TEXTURES = REPO / "egs" / "textures" / "ad1"
SMALL = "--config dbfad/debug --run.max_steps 2 --run.accelerator cpu"


def run(task: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["./run.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_mvtec_in_its_layout(coffee: Path, tmp_path: Path) -> None:
    """A model a category, then one that has not seen the category; killed or not, what is done is not done again."""
    task = copy_recipe(REPO / "egs" / "mvtec" / "ad1", tmp_path)
    for category in ("carpet", "wood"):
        write_mvtec(task / "corpus", coffee, category, 4, 2)
    options = ["--weights", "random", "--fit_args", SMALL, "--checkpoint", "last"]
    data = ["--data_args", "--corpus corpus"]
    run(task, *options, *data, "--categories", "carpet wood")
    for category in ("carpet", "wood"):
        exp = task / "exp" / "dbfad" / category
        found = json.loads((exp / "anomalies" / f"test-{category}.json").read_text())
        assert (found["normal"], found["defects"], found["masks"]) == (2, 2, True)
        assert found["speed"][f"test-{category}"]["per_second"] > 0
        assert (exp / "anomalies" / f"test-{category}" / "sheet.png").is_file()
        assert (exp / "report.html").is_file()
        regime = json.loads((exp / "regime.json").read_text())
        assert (regime["test"]["count"], regime["steps"][0]["labelled"]["count"]) == (4, 3)
    said = run(task, *options, *data, "--categories", "carpet", "--stage", "fit")
    assert "2 steps are done already" in said.stdout
    run(task, *options, "--categories", "", "--leave_out", "wood", "--stage", "fit")
    model = task / "exp" / "dbfad-without" / "wood" / "export-last" / "config.json"
    config = json.loads(model.read_text())
    assert (config["domains"], config["residual"]) == (["carpet"], False)


def test_sound_as_pictures(two_cities: Path, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "dcase_task2" / "ad1", tmp_path)
    wav, rate = sf.read(two_cities)
    names = [f"section_00_source_train_normal_{k:04d}_vel_6.wav" for k in range(4)]
    names += [f"section_00_source_test_{kind}_{k:04d}.wav" for kind in ("normal", "anomaly") for k in range(2)]
    for k, name in enumerate(names):
        x = wav[k * rate : (k + 1) * rate]
        path = task / "downloads" / "fan" / ("train" if "_train_" in name else "test") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, x + (0.3 * np.sin(np.arange(len(x)) * 0.9) if "anomaly" in name else 0), rate)
    run(task, "--weights", "random", "--fit_args", SMALL, "--checkpoint", "last", "--categories", "fan")
    found = json.loads((task / "exp" / "dbfad" / "fan" / "anomalies" / "test-fan.json").read_text())
    assert (found["normal"], found["defects"], found["masks"]) == (2, 2, False)
    item = read_items(task / "data" / "train")[0]
    with Image.open(item.path) as image:
        assert (image.mode, image.height) == ("L", 128)


def test_fabrics_in_tiles(tmp_path: Path) -> None:
    """AITEX, cut: the test pictures of each fabric can be stitched back."""
    grey = np.random.default_rng(0).integers(60, 120, (32, 96)).astype(np.uint8)
    mask = np.zeros((32, 96), np.uint8)
    mask[4:8, 70:80] = 255
    names = [f"NODefect_images/f/{k:04d}_000_00" for k in range(4)] + ["Defect_images/0010_006_00"]
    for name, x in (*((n, grey) for n in names), ("Mask_images/0010_006_00_mask", mask)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(tmp_path / f"{name}.png")
    script = REPO / "egs" / "mvtec" / "ad1" / "local" / "make_data.py"
    command = [sys.executable, str(script), "aitex", str(tmp_path), str(tmp_path / "data"), "32"]
    done = subprocess.run(command, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    places = read_tiles(tmp_path / "data" / "test-fabric00")
    assert {i.id for i in read_items(tmp_path / "data" / "test-fabric00")} == places.keys()
    whole = stitch({i: np.full((32, 32), 1.0) for i in places}, [t for t in places.values() if "0010_006" in t.source])
    assert whole.shape == (32, 96)
    bad = [i for i in read_items(tmp_path / "data" / "test") if i.label != "good"]
    assert [i.id.split("@")[1] for i in bad] == ["0.48", "0.64"]
    assert {i.source for i in bad} <= {i.id for i in read_items(tmp_path / "data" / "test-whole")}


@pytest.mark.parametrize("recipe", ["mvtec", "dcase_task2"])
def test_what_is_not_there_is_said(recipe: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / recipe / "ad1", tmp_path)
    done = subprocess.run(["./run.sh", "--stop_stage", "data"], cwd=task, env=ENV, capture_output=True, text=True)
    assert done.returncode != 0
    assert "downloads" in done.stderr


@pytest.fixture(scope="module")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets, of photographs that are made: the grey level of a pixel says its row."""
    root = tmp_path_factory.mktemp("textures")
    (root / "downloads").mkdir()
    for k, name in enumerate(("brick", "grass", "gravel")):
        noise = np.random.default_rng(k).integers(0, 6, (512, 512))
        x = np.arange(512)[:, None] // 2 // 6 * 6 + noise
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(root / "downloads" / f"{name}.png")
    assert make(root / "downloads", root / "data", 3).returncode == 0
    return root


def make(downloads: Path, data: Path, each: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TEXTURES / "local" / "make_data.py"), str(downloads), str(data), str(each)]
    return subprocess.run(command, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)


def test_the_bands_have_nothing_in_common(textures: Path) -> None:
    rows: dict[str, set[int]] = {}
    for split, count in (("train", 60), ("dev", 30), ("test", 45)):
        items = [i for i in read_items(textures / "data" / split) if i.label == "good" and i.domain == "brick"]
        assert len(items) == count
        tops = {int(i.id.split("-")[1].split(".")[0]) for i in items}
        rows[split] = {r for top in tops for r in range(top, top + 64)}
    assert max(rows["train"]) + 64 < min(rows["dev"]) < max(rows["dev"]) + 64 < min(rows["test"])


def test_masks_hold_every_changed_pixel(textures: Path) -> None:
    items = {i.id: i for i in read_items(textures / "data" / "test")}
    bad = [i for i in items.values() if i.label != "good"]
    assert len(bad) == 3 * 5 * 3
    for item in bad:
        texture, _, at = item.id.split("-")
        with Image.open(item.path) as made, Image.open(items[f"{texture}-{at}"].path) as clean:
            changed = np.asarray(made) != np.asarray(clean)
        mask = load_mask(item)
        assert not (changed & ~mask).any()
        assert 0.3 * mask.sum() < changed.sum()
        assert 10 < mask.sum() < 1000
    assert {i.label for i in bad} == {"hole", "scratch", "foreign", "blurred", "turned"}
    assert all(i.label == "good" for split in ("train", "dev") for i in read_items(textures / "data" / split))


def test_the_same_bytes_again(textures: Path, tmp_path: Path) -> None:
    assert make(textures / "downloads", tmp_path / "again", 3).returncode == 0
    first, again = tree(textures / "data"), tree(tmp_path / "again")
    changed = {n for n in again if again[n] != first[n]}
    assert changed == {
        f"test-{n}/items.jsonl" for n in ("brick", "grass", "gravel")
    }  # their paths lie in test's folder
    more = make(textures / "downloads", tmp_path / "more", 46)
    assert "45 tiles of brick to test on, 46 with each defect" in more.stderr


def test_configs_and_the_grid_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (TEXTURES / "conf").glob("[!g]*.yaml"):
        check_settings(settings_of("dbfad", read_config(str(path))))
    monkeypatch.syspath_prepend(REPO / "recipes")
    monkeypatch.chdir(TEXTURES)
    import kd_grid

    cells = kd_grid.read_cells("conf/grid.yaml")
    assert len(cells) == 4 * 9 + 6 * 3
    assert {c.method for c in cells if c.seed} == {"dbfad", "rd4ad", "stfpm", "dbfad-unseen"}
    for cell in cells:
        (fit,) = cell.fits
        check_settings(settings_of(fit["method"], read_config(fit["config"]), fit["options"]))
        assert (
            [cell.filled(t) for t in cell.test]
            == cell.filled(fit["options"]["data.test"])
            == [f"data/test-{cell.domain}"]
        )
