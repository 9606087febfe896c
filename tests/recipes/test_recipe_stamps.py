"""Which set the stamps and what is said about them come to, on a few files in the package's layout; and on the package itself."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from PIL import Image
from recipe_copies import ENV, REPO

from audiokd.data.classes import read_classes
from audiokd.data.fetch import downloads_dir, fetch_deb
from audiokd.data.inputs import open_input
from audiokd.data.items import Item, read_items
from audiokd.data.labels import read_labels
from audiokd.hub.auto import part
from audiokd.stages.fit import flatten, read_config

TASKS = REPO / "egs" / "stamps"
SCRIPT = TASKS / "promptkd1" / "local" / "make_data.py"
STAMPS = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
SETS = ("pair-train", "pair-dev", "unlabelled", "dev", "test")
BIRDS = ("crow", "owl", "lark", "duck", "gull", "pelican", "magpie", "vulture")
LETTERS = "abcde"


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 12, 4), shade, np.uint8)).save(path)


@pytest.fixture(scope="module")
def stamps(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Birds and letters, frogs of no class, a drawing without a PNG, a mirrored picture, and words of real speech."""
    x, rate = sf.read(two_cities, dtype="float32")
    root = tmp_path_factory.mktemp("package") / "stamps"
    captions = {f"animals/birds/{b}": f"A {b}." for b in BIRDS}
    captions |= {
        "animals/birds/white_owl2": "A white owl.",
        "animals/birds/cartoon/owl": "The owl.",
        "animals/birds/gull_mirror": "",
    }
    captions |= {f"animals/amphibians/{f}": "A frog." for f in ("frog", "frog-1")}
    captions["animals/amphibians/corbie"] = "A crow."
    for letter in LETTERS:
        for way in ("filled/lowercase", "outlined/uppercase"):
            captions[f"symbols/alphabets/english/{way}/{letter}_{way[:6]}"] = f"The letter {letter.upper()}."
    captions["animals/birds/stork"] = "A stork."
    for k, (key, caption) in enumerate(captions.items()):
        file = root / key
        picture(root / f"{key}.png", k)
        if caption:
            (file.parent / f"{file.name}.txt").write_text(f"{caption}\nfr.utf8=Un {file.name}.\n", encoding="utf-8")
            for c, language in enumerate(("", "_fr", "_pt_BR")):
                sound = file.parent / f"{file.name}_desc{language}.ogg"
                if "outlined" in key:  # as in the package: a letter's ways are said by copies of one recording
                    letter = root / "symbols/alphabets/english/filled/lowercase" / f"{file.name[0]}_filled"
                    shutil.copy(f"{letter}_desc{language}.ogg", sound)
                else:
                    sf.write(sound, x[k * rate // 2 + c * 999 :][: rate // 2], rate)
    (root / "animals/birds/stork.png").rename(root / "animals/birds/stork.svg")
    sf.write(root / "animals/birds/crow.ogg", x[: rate // 2], rate)  # it crows: nobody says its name
    return root


def make(stamps: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(stamps), "data"]
    return subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True)


def contents(paths: list[str]) -> set[str]:
    return {hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths}


def check(folder: Path) -> dict[str, list[Item]]:
    """That the sets have nothing in common; the items of each."""
    items = {s: read_items(folder / "data" / s) for s in SETS if (folder / "data" / s).exists()}
    said = {s: open_input(folder / "data" / f"speech-{s}").utterances() for s in SETS if s in items}
    for what in ("ids", "sources", "pictures", "recordings"):
        of: list[set[str]] = []
        for s in items:
            if what == "recordings":
                of.append(contents([str(folder / u.path) for u in said[s]]))
            elif what == "pictures":
                of.append(contents([i.path for i in items[s]]))
            else:
                of.append({str(i.id if what == "ids" else i.source) for i in items[s]})
        assert sum(map(len, of)) == len(set().union(*of)), what
    return items


def test_sets_of_a_few_stamps(stamps: Path, tmp_path: Path) -> None:
    run = make(stamps, tmp_path)
    assert run.returncode == 0, run.stderr
    items = check(tmp_path)
    by_id = {i.id: (s, i) for s, of in items.items() for i in of}
    assert "animals-birds-stork" not in by_id
    assert "1 stamps only as SVG" in run.stdout

    def of(*ids: str) -> set[str]:
        return {by_id[f"animals-{i}"][1].source or "" for i in ids if f"animals-{i}" in by_id}

    assert len(of("birds-owl", "birds-white_owl2", "birds-cartoon-owl")) == 1
    assert len(of("birds-gull", "birds-gull_mirror")) == 1
    # one of no class that shares a crow's caption is in pair training where the crow is, and else in no set
    where = by_id["animals-birds-crow"][0]
    assert ("animals-amphibians-corbie" in by_id) == where.startswith("pair")
    assert {by_id[f"animals-amphibians-{f}"][0] for f in ("frog", "frog-1")} <= {"pair-train", "pair-dev"}
    for s in ("unlabelled", "dev", "test"):
        labels = {i.id.split("-")[1] for i in items[s]}
        assert labels == {"birds", "alphabets"}, s
        assert all(i.caption is None for i in items[s])
    assert all(i.label is None for s in ("pair-train", "pair-dev", "unlabelled") for i in items[s])
    assert all(i.caption for i in items["pair-train"])
    train = read_items(tmp_path / "data/train")
    assert [i.id for i in train] == [i.id for i in items["unlabelled"]]
    assert Counter(i.label for i in train).keys() == {"bird", "letter"}
    assert read_classes(tmp_path / "data/test")["motor_vehicle"] == "motor vehicle"

    speech = {s: open_input(tmp_path / f"data/speech-{s}").utterances() for s in (*SETS, "train")}
    ids = [u.id for s in SETS for u in speech[s]]
    assert not any(u.path.endswith("crow.ogg") for of in speech.values() for u in of)
    assert sum(i.startswith("pt_BR-symbols") for i in ids) == len(LETTERS)  # each recording once
    assert all(u.text for u in speech["pair-train"])
    languages = read_labels(tmp_path / "data/speech-pair-train/utt2lang")
    assert {w[0] for w in languages.values()} == {"en", "fr", "pt_BR"}
    assert set(read_labels(tmp_path / "data/speech-test").values()) == {("bird",), ("letter",)}
    assert not (tmp_path / "data/speech-unlabelled/utt2label").exists()


def test_the_same_again(stamps: Path, tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
        assert make(stamps, folder).returncode == 0
    a, b = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders)
    assert a == b


def test_too_few_series_and_no_stamps(stamps: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = make(tmp_path / "empty", tmp_path)
    assert run.returncode == 1
    assert "no stamps; give usr/share/tuxpaint/stamps" in run.stderr
    for k, name in enumerate(("oak", "fir", "ash")):
        picture(tmp_path / "few/plants/trees" / f"{name}.png", k)
        (tmp_path / "few/plants/trees" / f"{name}.txt").write_text(f"An {name}.\n")
    run = make(tmp_path / "few", tmp_path)
    assert run.returncode == 1
    assert "tree has 3 series, and there are 4 parts" in run.stderr


METHODS_OF = {
    "pair": "lit",
    "vit_pair": "lit",
    "teacher": "promptsrc",
    "student": "promptkd",
    "vit": "promptkd",
    "s3a": "s3a",
}
METHODS_OF |= {"speech_pair": "lit", "speech_teacher": "promptsrc", "speech_student": "promptkd"}


CONFS = sorted(TASKS.glob("*/conf/*.yaml"))
GRIDS = [p for p in CONFS if p.stem.endswith("grid")]


@pytest.mark.parametrize("file", [p for p in CONFS if p not in GRIDS], ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_keys_of_the_conf_files(file: Path) -> None:
    flat = read_config(str(file))
    known = flatten(dataclasses.asdict(part(METHODS_OF[file.stem], "settings")()))
    assert not set(flat) - set(known)


@pytest.mark.parametrize("file", GRIDS, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_cells_of_the_grids(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of every cell is of a file that is there and of keys that its method knows; three seeds of what is compared."""
    monkeypatch.syspath_prepend(REPO / "recipes")
    monkeypatch.chdir(file.parents[1])
    import kd_grid

    cells = kd_grid.read_cells(f"conf/{file.name}")
    assert {c.seed for c in cells} == ({0} if file.stem == "speech_grid" else {0, 1, 2})
    for fit in (f for c in cells for run in (c, *c.needs.values()) for f in run.fits):
        assert Path(fit["config"]).is_file()
        known = flatten(dataclasses.asdict(part(fit["method"], "settings")()))
        assert not set(fit.get("options", {})) - set(known)


@pytest.mark.parametrize("task", ["promptkd1", "s3a1"])
def test_run_sh_is_short_and_its_options_are_known(task: str) -> None:
    lines = (TASKS / task / "run.sh").read_text().splitlines()
    assert len(lines) <= 25
    head = (REPO / "recipes" / "kd.sh").read_text().partition("set -euo pipefail")[0]
    given = {
        o
        for line in lines
        if not line.startswith("#")
        for o in re.findall(r"(?:^|\s)(--\w+)", re.sub(r'"[^"]*"', "", line))
    }
    assert given
    assert all(re.search(rf"{o}\b", head) for o in given)
    for conf in re.findall(r"conf/\w+\.yaml", "\n".join(lines)):
        assert (TASKS / task / conf).is_file()


@pytest.mark.corpus
def test_the_package(tmp_path: Path) -> None:
    package = fetch_deb("tuxpaint-stamps-default", STAMPS, downloads_dir() / "tests")
    run = make(package / "usr/share/tuxpaint/stamps", tmp_path)
    assert run.returncode == 0, run.stderr
    assert "796 pictures with captions; 165 stamps only as SVG" in run.stdout
    items = check(tmp_path)
    assert {s: len(of) for s, of in items.items()} == {
        "pair-train": 366,
        "pair-dev": 25,
        "unlabelled": 177,
        "dev": 57,
        "test": 169,
    }
    assert len({i.label for i in items["test"]}) == 28
