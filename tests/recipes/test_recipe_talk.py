"""recipes/talk.sh on digits, drums, MovieLens and Speech Commands: data in their layouts, and the whole path in the small."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml
from grid_scripts import load_grid
from method_settings import settings_of
from recipe_copies import ENV, REPO, copy_recipe, tree

from audiokd.data.inputs import open_input
from audiokd.data.items import read_items
from audiokd.data.labels import read_labels
from audiokd.data.media import open_media
from audiokd.data.ratings import Rating, read_ratings, write_ratings
from audiokd.methods.talking_models.checks import check_settings
from audiokd.methods.talking_models.messages import Interpreters
from audiokd.stages.fit import read_config

EGS = REPO / "egs"
FEW = "--run.max_steps 2 --run.val_every 2 --run.ckpt_every 2"
KINDS = {"digits": "image", "drums": "audio", "movielens": "ratings", "speechcommands": "audio"}


def run(task: Path, *options: str, good: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["./run.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    assert (done.returncode == 0) == good, done.stderr[-3000:]
    return done


def few(of: str) -> str:
    return f"--config conf/{of}.yaml {FEW}"


@pytest.mark.slow
def test_digits_from_data_to_scores(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "digits" / "talk1", tmp_path)
    shutil.copytree(EGS / "digits" / "vl2v1" / "local", tmp_path / "egs" / "corpus" / "vl2v1" / "local")
    options = ["--teacher_args", few("teacher"), "--fit_args", few("student"), "--checkpoint", "last"]
    run(task, *options, "--data_args", "--teacher 4 --train 2 --dev 1 --test 1")
    sets = {s: read_items(task / "data" / s) for s in ("teacher", "train", "dev", "test", "other")}
    assert {s: len(of) for s, of in sets.items()} == {"teacher": 40, "train": 20, "dev": 10, "test": 10, "other": 1797}
    assert set(Counter(i.label for i in sets["train"]).values()) == {2}
    assert {i.id for i in sets["train"]} < {i.id for i in sets["teacher"]}
    pictures = [Path(i.path).read_bytes() for s in ("teacher", "dev", "test") for i in sets[s]]
    assert len(set(pictures)) == len(pictures)
    found = json.loads((task / "exp" / "base" / "last-test.json").read_text())
    assert (found["metric"], found["rows"]) == ("accuracy", 10)
    regime = json.loads((task / "exp" / "base" / "export-last" / "regime.json").read_text())
    assert regime["before"]["teacher.model"]["steps"][0]["labelled"]["count"] == 40
    before = {f: tree(task / f) for f in ("data", "exp")}
    assert run(task, *options, "--stage", "fit").stdout.count("2 steps are done already") == 2
    assert {f: tree(task / f) for f in ("data", "exp")} == before
    run(task, *options, "--stage", "fit", "--stop_stage", "fit", "--kind", "modules")
    assert yaml.safe_load((task / "exp" / "modules" / "config.yaml").read_text())["messages"]["way"] == "none"


def test_ratings_in_a_published_layout(tmp_path: Path) -> None:
    """u.data and u.item, from data to RMSE."""
    task, corpus = copy_recipe(EGS / "movielens" / "talk1", tmp_path), tmp_path / "ml-100k"
    corpus.mkdir()
    flags = [["0"] * 19 for _ in range(20)]
    for k, of in enumerate(flags):
        of[15 if k % 2 else 5] = "1"  # Sci-Fi, Comedy
    rows = [f"{u}\t{m}\t{1 + (u + m) % 5}\t0" for u in range(12) for m in range(20)]
    (corpus / "u.data").write_text("\n".join(rows) + "\n")
    (corpus / "u.item").write_text("".join(f"{k}|X|||http|{'|'.join(of)}\n" for k, of in enumerate(flags)))
    options = ["--teacher_args", few("teacher"), "--fit_args", few("student"), "--data_args", f"--corpus {corpus}"]
    run(task, *options)
    sets = {s: read_ratings(task / "data" / s) for s in ("teacher", "teacher-dev", "train", "dev", "test")}
    ids = {s: {r.id for r in of} for s, of in sets.items()}
    assert ids["train"] < ids["teacher"]
    assert ids["dev"] < ids["teacher-dev"]
    assert not ids["test"] & (ids["teacher"] | ids["teacher-dev"])
    assert not ids["teacher"] & ids["teacher-dev"]
    assert {int(r.movie) % 2 for s in ("train", "dev", "test") for r in sets[s]} == {1}
    assert len(ids["train"] | ids["dev"] | ids["test"]) == 120
    found = json.loads((task / "exp" / "base" / "best-test.json").read_text())
    assert found["ratings"] == len(sets["test"])
    assert 0 < found["scores"]["rmse"]["mean"] < 5
    done = run(task, "--stop_stage", "data", "--data_args", f"--corpus {corpus} --genre Opera", good=False)
    assert "no movie of the genre Opera" in done.stderr
    assert "one of Comedy, Sci-Fi" in done.stderr


def test_modules_alone_train_no_teacher(tmp_path: Path) -> None:
    """--teacher none: neither made nor handed on."""
    task = copy_recipe(EGS / "movielens" / "talk1", tmp_path)
    rated = [Rating(f"u{u}", f"m{m}", float(1 + (u + m) % 5)) for u in range(9) for m in range(6)]
    for name, part in (("train", rated[::2]), ("dev", rated[1::4]), ("test", rated[3::4])):
        write_ratings(task / "data" / name, part)
    words = ["--stage", "fit", "--kind", "modules", "--fit_args", f"{few('student')} --loss.kd 0"]
    run(task, *words, "--teacher", "none")
    assert [f.name for f in sorted((task / "exp").iterdir())] == ["modules"]
    told = yaml.safe_load((task / "exp" / "modules" / "config.yaml").read_text())
    assert (told["messages"]["way"], told["teacher"]["model"], told["loss"]["kd"]) == ("none", "", 0)
    assert json.loads((task / "exp" / "modules" / "best-test.json").read_text())["ratings"] == len(rated[3::4])


def write(path: Path, seconds: float = 0.3, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (100 + sum(map(ord, path.name)) % 700) * t) * np.exp(-4 * t) * 0.5
    sf.write(path, tone, rate)


def test_drums_and_letters(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "drums" / "talk1", tmp_path)
    shutil.copytree(EGS / "debian_sounds" / "ssl1" / "local", tmp_path / "egs" / "debian_sounds" / "ssl1" / "local")
    script = task / "local" / "make_data.py"
    down, data = task / "downloads", task / "data" / "train"
    data.mkdir(parents=True)
    for k in range(12):
        write(data / "wav" / f"{k}.wav")
    (data / "wav.scp").write_text("".join(f"{k:02d} {data}/wav/{k}.wav\n" for k in range(12)))
    (data / "utt2label").write_text("".join(f"{k:02d} {'kick' if k < 8 else 'tom'}\n" for k in range(12)))
    root = down / "klettres-data" / "usr" / "share" / "klettres"
    for voice in ("cs", "de", "en_GB"):
        for letter in "abz":
            write(root / voice / "alpha" / f"{letter}.wav")
        write(root / voice / "syllab" / "ba.wav")
    make = ["python", str(script), str(down), str(task / "data"), "5"]
    done = subprocess.run(make, env={**ENV, "PYTHONPATH": str(REPO)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept = read_labels(task / "data" / "few")
    assert Counter(of[0] for of in kept.values()) == {"kick": 5, "tom": 4}
    assert {u.id for u in open_input(task / "data" / "few").utterances()} == kept.keys()
    assert len(open_media(task / "data" / "letters")) == 6
    assert {i.id.split("-")[1] for i in open_media(task / "data" / "letters-dev").items} == {"de"}


def test_speech_commands_in_their_layout(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "speechcommands" / "talk1", tmp_path)
    shutil.copytree(EGS / "speechcommands" / "clip1" / "local", task.parent / "clip1" / "local")
    root = tmp_path / "corpus" / "speech_commands_v0.02"
    for word in ("yes", "no"):
        for k in range(3):
            write(root / word / f"ab{k}_nohash_0.wav", 1.0)
    (root / "validation_list.txt").write_text("yes/ab1_nohash_0.wav\nno/ab1_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("yes/ab2_nohash_0.wav\nno/ab2_nohash_0.wav\n")
    few_of = {
        k: f"{few(k)} --run.accelerator cpu --data.num_workers 0 --data.batch_size 4" for k in ("teacher", "student")
    }
    words = ["--data_args", f"--corpus {tmp_path / 'corpus'}", "--teacher_args", few_of["teacher"]]
    run(task, *words, "--fit_args", few_of["student"])
    found = json.loads((task / "exp" / "base" / "best-words-test.json").read_text())
    assert (found["rows"], sorted(found["labels"])) == (2, ["no", "yes"])
    assert "no downloads/speech_commands_v0.02" in run(task, "--stop_stage", "data", good=False).stderr


def test_options(tmp_path: Path) -> None:
    task = copy_recipe(EGS / "digits" / "talk1", tmp_path)
    for words, said in (
        (["--kind", "gan"], "--kind is base, alone, kd, dkd, hints or modules, not 'gan'"),
        (["--scores", "segments"], "--scores is classify or ratings, not 'segments'"),
        (["--teacher_checkpoint", "first"], "--teacher_checkpoint is last or best, not 'first'"),
        (["--checkpoint", ""], "--checkpoint is needed"),
        (["--kind", "alone", "--teacher", "x/y"], "--kind alone has no teacher: leave out --teacher x/y"),
        (["--kind", "kd", "--teacher", "none"], "--kind kd needs a teacher"),
    ):
        assert said in run(task, *words, good=False).stderr


@pytest.mark.parametrize("corpus", KINDS)
def test_confs_are_of_the_method(corpus: str) -> None:
    for name, kinds in (("teacher", ["alone"]), ("student", ["base", "alone", "kd", "hints", "modules"])):
        for kind in kinds:
            given = read_config(str(EGS / corpus / "talk1" / "conf" / f"{name}.yaml"))
            teacher = {} if kind == "alone" else {"teacher.model": "x/y"}
            check_settings(settings_of("talking_models", kind, given | teacher), KINDS[corpus])


def test_validation_scores_of_ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least error is the best; the teacher's stands beside it."""
    load_grid("kd_grid", monkeypatch)
    from kd_scores import in_domain

    rows = [(0, "rmse", 1.2), (10, "rmse", 0.9), (20, "rmse", 1.0), (0, "teacher_rmse", 0.8), (20, "teacher_rmse", 0.8)]
    lines = [f"{step},val,{name},{value}" for step, name, value in rows]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,split,name,value", *lines]) + "\n")
    assert (in_domain(tmp_path, "best"), in_domain(tmp_path, "last")) == (0.9, 1.0)
    assert in_domain(tmp_path, "best", "teacher_") == 0.8
    assert in_domain(tmp_path, "swad") is None
    (tmp_path / "metrics.csv").write_text("step,split,name,value\n0,val,score,0.5\n1,val,score,0.7\n2,val,score,0.6\n")
    assert (in_domain(tmp_path, "best"), in_domain(tmp_path, "last")) == (0.7, 0.6)
    assert in_domain(tmp_path, "best", "teacher_") is None


def interpreter_weights(cell: Any) -> int:
    """Numbers in a cell's encoders and decoders: of these small models the states are as wide as the first and the last block."""
    packaged, own = cell.fits[-1]["config"]
    options = {k: v for k, v in cell.fits[-1]["options"].items() if k.startswith("messages.")}
    s = settings_of("talking_models", packaged.split("/")[1], read_config(own) | options)
    of_teacher = read_config("conf/teacher.yaml")["model.widths"]
    student, teacher = ((w[-1], w[0]) for w in (s.model.widths, of_teacher))
    between = Interpreters(student, teacher if s.messages.way != "none" else None, s.messages)
    return sum(p.numel() for p in between.parameters())


@pytest.mark.parametrize(
    ("corpus", "hidden"), [("digits", 317), ("drums", 317), ("movielens", 307), ("speechcommands", 305)]
)
def test_readmes_say_how_many_extra_weights_there_are(corpus: str, hidden: int) -> None:
    """Of talk, of the modules as they are by default, and of those that are as many."""
    conf = EGS / corpus / "talk1" / "conf"
    widths = {n: read_config(str(conf / f"{n}.yaml"))["model.widths"] for n in ("student", "teacher")}
    student, teacher = ((w[-1], w[0]) for w in widths.values())
    found = []
    for name, changes in (("base", {}), ("modules", {}), ("modules", {"messages.hidden": hidden})):
        s = settings_of("talking_models", name, changes).messages
        between = Interpreters(student, teacher if s.way != "none" else None, s)
        found.append(sum(p.numel() for p in between.parameters()))
    assert abs(found[2] - found[0]) < 0.005 * found[0]
    told = (conf.parent / "README.md").read_text()
    for text in (*(f"{n:,}" for n in found), f"{100 * found[1] / found[0]:.0f} %", f"--messages.hidden {hidden}"):
        assert text in told, text


@pytest.mark.parametrize("corpus", ["digits", "drums", "movielens"])
def test_grids_can_be_read(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = load_grid("kd_grid", monkeypatch)
    monkeypatch.chdir(EGS / corpus / "talk1")
    cells = grid.read_cells("conf/grid.yaml")
    assert len({c.sha256 for c in cells}) == len(cells)
    seeds = {m: {c.seed for c in cells if c.method == m} for m in {c.method for c in cells}}
    off = {f"talk-no-{n}" for n in ("interact", "message", "state")}
    three = {"alone", "kd", "hints", "modules", "modules-no-kd", "talk", "talk-kd", "talk-interact-0.1", *off}
    three |= {"dkd"} if corpus != "movielens" else set()
    assert {m for m, of in seeds.items() if of == {0, 1, 2}} == three
    one = {"talk-moving", "talk-one-way", "talk-2-rounds", "talk-3-rounds", "kd-large", "talk-large"}
    assert one <= {m for m, of in seeds.items() if of == {0}}
    weights = {
        m: {interpreter_weights(c) for c in cells if c.method == m} for m in ("talk", "modules", "modules-no-kd")
    }
    (talk,), (modules,) = weights["talk"], weights["modules"] | weights["modules-no-kd"]
    assert abs(modules - talk) < 0.005 * talk
    assert f"{talk:,}" in Path("conf/grid.yaml").read_text()
    assert f"{modules:,}" in Path("conf/grid.yaml").read_text()
    lengths = {read_config(f["config"][1])["run.max_steps"] for c in cells for n in c.needs.values() for f in n.fits}
    assert len(lengths) == 1
    assert not any("run.max_steps" in f.get("options", {}) for c in cells for n in c.needs.values() for f in n.fits)
    # teachers: seen by the check of overlap, and exported as the recipe's own are
    teachers = [f for c in cells for n in c.needs.values() for f in n.fits]
    assert {f["options"]["data.test"] for f in teachers} == {"[data/test]"}
    (exported,) = {f["export"] for f in teachers}
    assert ("--teacher_checkpoint best" in Path("run.sh").read_text()) == (exported == "best")
    for cell in cells:
        for fit in (*cell.fits, *(f for needed in cell.needs.values() for f in needed.fits)):
            packaged, own = fit["config"]
            options = {k: cell.filled(v) for k, v in fit.get("options", {}).items()}
            options = {
                k: yaml.safe_load(v) if str(v).startswith("[") and "/" not in str(v) else v for k, v in options.items()
            }
            check_settings(
                settings_of("talking_models", packaged.split("/")[1], read_config(own) | options), KINDS[corpus]
            )
