"""recipes/tiue.sh on the digits', drums' and JourneyDB's recipes: what their data scripts make, and the whole path in the small."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from method_settings import settings_of
from PIL import Image
from recipe_copies import ENV, REPO, asked, copy_recipe, tree

from audiokd.cli import main
from audiokd.data.images import load_image
from audiokd.data.items import read_items
from audiokd.data.media import open_media
from audiokd.methods.tiue.networks import new_pipeline
from audiokd.methods.tiue.run import check_settings
from audiokd.methods.tiue.settings import TiUESettings, UNetShape
from audiokd.stages.fit import read_config

EGS = REPO / "egs"
FEW = "--run.max_steps 2 --run.val_every 2 --run.ckpt_every 2 --run.accelerator cpu"
SMALL = f"--config tiue/debug {FEW}"
JUDGE = {"step": "erm", "model": {"backbone": "test_convnext", "size": 32}, "data": {"batch_size": 8, "num_workers": 0},
         "swad": {"n_converge": 0}, "run": {"max_steps": 2, "val_every": 2, "ckpt_every": 2, "accelerator": "cpu"}}  # fmt: skip


def run(task: Path, *options: str, good: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["./run.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    assert (done.returncode == 0) == good, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_digits_from_data_to_the_page(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "digits" / "tiue1", tmp_path)
    shutil.copytree(EGS / "digits" / "vl2v1" / "local", tmp_path / "egs" / "corpus" / "vl2v1" / "local")
    (task / "conf" / "judge.yaml").write_text(yaml.safe_dump(JUDGE))
    options = ["--teacher_args", SMALL, "--fit_args", SMALL, "--score_args", "--any_size true --batch_size 32"]
    options += ["--generate_args", "--batch_size 100", "--trajectory_args", "--steps 3 --items 2"]
    run(task, *options, "--data_args", "--train 3 --dev 2 --test 10")
    splits = {s: read_items(task / "data" / s) for s in ("train", "dev", "test")}
    assert {s: len(of) for s, of in splits.items()} == {"train": 30, "dev": 20, "test": 100}
    assert set(Counter(i.label for i in splits["test"]).values()) == {10}
    seen = [load_image(i).tobytes() for of in splits.values() for i in of]
    assert len(set(seen)) == len(seen)
    assert load_image(splits["test"][0]).size == (24, 24)
    exp = task / "exp" / "tiue"
    made = open_media(exp / "generated" / "test")
    assert made.labels() == open_media(task / "data" / "test").labels()
    found = json.loads((exp / "fidelity" / "test.json").read_text())
    assert {"fid", "kid", "precision", "recall", "diversity", "accuracy"} <= set(found["scores"])
    assert (found["generation"]["steps"], found["generation"]["sampler"]) == (4, "tiue")
    page = (exp / "report.html").read_text()
    assert "test: samples" in page
    assert "features change" in page

    before = {f: tree(task / f) for f in ("data", "exp")}
    again = run(task, *options, "--stage", "fit")
    assert again.stdout.count("2 steps are done already") == 3  # judge, teacher, student
    assert {f: tree(task / f) for f in ("data", "exp")} == before
    run(task, *options, "--kind", "teacher", "--generate_args", "--steps 2 --batch_size 100", "--stage", "export")
    other = json.loads((task / "exp" / "teacher" / "fidelity" / "test.json").read_text())
    assert other["generation"]["sampler"] == "ddim"
    assert other["system"] == "teacher"


@pytest.mark.slow
def test_drums_are_heard(tmp_path: Path) -> None:
    """From a few sounds in the packages' layouts to FAD; no judge."""
    task = copy_recipe(EGS / "drums" / "tiue1", tmp_path)
    shutil.copytree(EGS / "debian_sounds" / "ssl1" / "local", tmp_path / "egs" / "debian_sounds" / "ssl1" / "local")
    shutil.rmtree(task / "local", ignore_errors=False)
    there = tmp_path / "egs" / "corpus" / "tok1" / "local"
    shutil.copytree(EGS / "drums" / "tiue1" / "local", there)
    (there / "judge.sh").unlink()
    rng, down = np.random.default_rng(0), task / "downloads"
    kits = down / "hydrogen-drumkits" / "usr" / "share" / "hydrogen" / "data" / "drumkits"
    pack = down / "sonic-pi-samples" / "usr" / "share" / "sonic-pi" / "samples"
    t = np.arange(44_100) / 44_100
    names = [
        f"{d}-{k}"
        for d in ("Kick", "HiHat", "Snare", "TM_0", "Crash", "Clap")
        for k in ("soft-1", "hard-2", "wide", "far")
    ]
    for place, suffix in ((kits / "KitA", "wav"), (kits / "KitB", "wav"), (pack, "flac")):
        place.mkdir(parents=True)
        for name in names:
            x = np.sin(2 * np.pi * rng.uniform(60, 900) * t) * np.exp(-5 * t) * 0.5
            sf.write(place / f"{name}.{suffix}", np.concatenate([np.zeros(4410), x, x]), 44_100)
    sf.write(kits / "KitA" / "Kick-silent.wav", np.zeros(9000), 44_100)
    make = [sys.executable, str(there / "make_data.py"), str(down), str(task / "data")]
    said = subprocess.run(make, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "Kick-silent.wav: left out, silent" in said.stdout
    splits = {s: open_media(task / "data" / s) for s in ("train", "dev", "test")}
    assert sum(map(len, splits.values())) == 60  # of a clap nobody knows what it is
    of = {i.id: s for s, m in splits.items() for i in m.items}
    assert all(of[f"drums-KitA-{d}-soft-1"] == of[f"drums-KitA-{d}-hard-2"] for d in ("Kick", "Snare"))
    assert {i.label for m in splits.values() for i in m.items} == {"kick", "hihat", "snare", "tom", "cymbal"}
    wav, rate = sf.read(splits["train"].items[0].path)
    assert (rate, len(wav)) == (16_000, round(1.024 * 16_000))
    assert abs(wav[:200]).max() > 0.01  # the silence before it is gone
    assert abs(wav[-1]) < 1e-3
    options = [
        "--teacher_args",
        f"{SMALL} --mel.frames 8 --mel.n_mels 8",
        "--fit_args",
        SMALL,
        "--valid_sets",
        "train dev test",
    ]
    options += ["--trajectory_args", "--steps 3 --items 2"]
    run(task, *options, "--stage", "validate", "--score_args", "--rows frames --allow_singular true --k 1")
    found = json.loads((task / "exp" / "tiue" / "fidelity" / "test.json").read_text())
    assert {"fad", "kid", "diversity"} <= set(found["scores"])
    assert found["features"]["dim"] == 256
    assert "<audio" in (task / "exp" / "tiue" / "report.html").read_text()


def test_journeydb_in_its_layout(coffee: Path, tmp_path: Path) -> None:
    """Prompts of a table, COCO's captions, and a random model in the place of Stable Diffusion."""
    task = copy_recipe(EGS / "journeydb" / "tiue1", tmp_path)
    assert "no downloads/train_anno.jsonl" in run(task, good=False).stderr
    rows = [{"img_path": f"./000/{k}.jpg", "prompt": f"dog  {k % 3}"} for k in range(5)]
    (task / "anno.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    pictures = task / "val2014"
    pictures.mkdir()
    images, said = [], []
    with Image.open(coffee) as photograph:
        for k in range(4):
            name = f"COCO_val2014_{k:012d}.jpg"
            photograph.convert("RGB").crop((50 * k, 0, 50 * k + 64 + k, 80)).save(pictures / name)
            images.append({"id": k, "file_name": name})
            said += [{"id": 10 * k + n, "image_id": k, "caption": f"a photo of a dog {n}.\n"} for n in (1, 0)]
    (task / "captions.json").write_text(json.dumps({"images": images[::-1], "annotations": said}))
    options = "--prompts anno.jsonl --captions captions.json --pictures val2014 --items 3"
    run(task, "--data_args", options, "--stop_stage", "validate")
    assert (task / "data" / "train" / "prompts.txt").read_text() == "dog 0\ndog 1\ndog 2\n"
    items = read_items(task / "data" / "test")
    assert [i.caption for i in items] == ["a photo of a dog 0."] * 3
    (pictures / "COCO_val2014_000000000001.jpg").unlink()
    done = run(task, "--data_args", options, "--stop_stage", "data", good=False)
    assert "1 of 3 pictures are not in val2014, the first is COCO_val2014_000000000001.jpg" in done.stderr
    # what the recipe gives to fit is what the method takes
    settings = settings_of("tiue", read_config("tiue/base") | {"distill.teacher": "x/y", "distill.kind": "tiue"})
    check_settings(settings)


def test_options(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "digits" / "tiue1", tmp_path)
    for words, said in (
        (["--kind", "gan"], "--kind is tiue, swiftbrush, lcm or teacher, not 'gan'"),
        (["--step", "align"], "the steps of tiue are pretrain and distill, not align"),
        (["--kind", "teacher", "--step", "distill"], "--kind teacher has no step distill"),
        (["--step", "pretrain", "--teacher", "a/b"], "--teacher NAME is trained already"),
    ):
        assert said in run(task, *words, good=False).stderr


def calls(task: Path, *options: str) -> list[list[str]]:
    """What run.sh asks of audiokd, without a judge."""
    (task / "local" / "judge.sh").unlink(missing_ok=True)
    return asked(task, *options)


@pytest.mark.parametrize(("corpus", "kinds"), [("digits", 3), ("drums", 3), ("journeydb", 2)])
def test_every_kind_takes_what_the_script_gives_it(
    corpus: str, kinds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = copy_recipe(EGS / corpus / "tiue1", tmp_path)
    monkeypatch.chdir(task)
    seen: list[TiUESettings] = []

    def checked(method: str, settings: Any, train: str, dev: str, exp_dir: str, allow_pipes: bool = False) -> None:
        check_settings(settings)
        seen.append(settings)

    monkeypatch.setattr("audiokd.stages.fit.fit", checked)
    for kind in ("tiue", "swiftbrush", "lcm")[:kinds]:
        for words in calls(task, "--kind", kind, "--stage", "fit", "--stop_stage", "fit"):
            if words[0] == "fit":
                main(words)
        last = seen[-1].distill
        assert (last.kind, last.student_steps) == (kind, 1 if kind == "swiftbrush" else 4)
    assert {s.step for s in seen} == ({"distill"} if corpus == "journeydb" else {"pretrain", "distill"})


def test_where_a_run_is(tmp_path: Path) -> None:
    """--exp of any kind; with --kind teacher --teacher NAME nothing is trained, and that one is scored."""
    task = copy_recipe(EGS / "digits" / "tiue1", tmp_path)
    here = ["--kind", "teacher", "--exp", "exp/other", "--stage", "fit", "--encoder", "log_mel"]
    made = calls(task, *here)
    assert {w[w.index("--exp_dir") + 1] for w in made if w[0] == "fit"} == {"exp/other"}
    assert [w[1:4] for w in made if w[0] == "generate"] == [
        ["exp/other/export", "data/test", "exp/other/generated/test"]
    ]
    made = calls(task, *here, "--teacher", "a/b")
    assert [w[0] for w in made] == ["trajectory", "generate", "fidelity"]
    assert made[1][1:4] == ["a/b", "data/test", "exp/other/generated/test"]
    made = calls(task, "--step", "pretrain", "--exp", "exp/p", "--stage", "fit", "--stop_stage", "export")
    assert [w[w.index("--exp_dir") + 1] for w in made if w[0] == "fit"] == ["exp/p"]
    made = calls(task, "--exp", "exp/t", "--stage", "fit", "--stop_stage", "fit")
    assert [w[w.index("--exp_dir") + 1] for w in made if w[0] == "fit"] == ["exp/teacher", "exp/t"]


@pytest.mark.parametrize("corpus", ["digits", "drums"])
def test_confs_are_of_their_methods(corpus: str) -> None:
    folder = EGS / corpus / "tiue1" / "conf"
    for name in ("teacher", "tiue", "lcm"):
        given = read_config(str(folder / f"{name}.yaml"))
        check_settings(settings_of("tiue", given | ({} if name == "teacher" else {"distill.teacher": "x"})))
    teacher = settings_of("tiue", read_config(str(folder / "teacher.yaml")))
    pipeline = new_pipeline(teacher, ["a", "b"], corpus == "drums")
    assert sum(p.numel() for p in pipeline.unet.parameters()) < 1.1e6
    assert isinstance(teacher.model, UNetShape)
    assert isinstance(teacher, TiUESettings)


@pytest.mark.parametrize("corpus", ["digits", "drums"])
def test_grids_can_be_read(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from grid_scripts import load_grid

    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(EGS / corpus / "tiue1")
    cells = grid.read_cells("conf/grid.yaml")
    assert {"teacher50", "ddim4", "swiftbrush", "tiue4"} <= {c.method for c in cells}
    assert len({c.sha256 for c in cells}) == len(cells)
    for cell in cells:
        assert cell.generate or cell.fits
        for fit in cell.fits:
            given = {k: cell.filled(v) for k, v in fit["options"].items()}
            check_settings(settings_of("tiue", read_config(fit["config"]) | given))
    if corpus == "digits":
        headline = {"teacher50", "ddim4", "swiftbrush", "tiue4", "tiue4-no-kl"}
        assert Counter(c.method for c in cells) == {c.method: 3 if c.method in headline else 1 for c in cells}
