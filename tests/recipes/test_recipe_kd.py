"""recipes/kd.sh from published layouts to scores: PromptKD on CoOp's and ESC-50's, VL2V on DomainBed's, S3A on folders a class."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from PIL import Image
from recipe_copies import ENV, REPO, copy_recipe
from tiny_pairs import save_pair

from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel

NAMES = ("dog", "cat", "rain", "clock")
RUN = "--run.max_steps 2 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --run.accelerator cpu --data.num_workers 0"


def digit_files(folder: Path, start: int, count: int, names: tuple[str, ...] = NAMES) -> list[Path]:
    """Handwritten digits as FOLDER/<name>/<number>.png."""
    from sklearn.datasets import load_digits

    digits, files = load_digits(), []
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in np.flatnonzero(digits.target == k)[start : start + count]:
            grey = np.kron(digits.images[n] / 16 * 255, np.ones((4, 4))).astype(np.uint8)
            files.append(folder / name / f"{n}.png")
            Image.fromarray(grey).save(files[-1])
    return files


def run(task: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["./run.sh", *options], cwd=task, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def coop_layout(folder: Path, split_file: str, names: tuple[str, ...]) -> None:
    """Digits with a split as CoOp publishes it."""
    split = {}
    for name, start, count in (("train", 0, 6), ("val", 6, 2), ("test", 8, 3)):
        files = digit_files(folder / "images", start, count, names)
        split[name] = [[f"{f.parent.name}/{f.name}", names.index(f.parent.name), f.parent.name] for f in files]
    (folder / split_file).write_text(json.dumps(split))


def test_promptkd_on_a_set_of_coop(tmp_path: Path) -> None:
    """Base to novel on one set; then the same teacher for the classes of another."""
    task = copy_recipe(REPO / "egs" / "dtd" / "promptkd1", tmp_path)
    coop_layout(task / "downloads" / "dtd", "split_zhou_DescribableTextures.json", NAMES)
    for name in ("teacher", "student"):
        save_pair("clip", task / name, seed=len(name))
    small = f"{RUN} --optim.warmup_steps 1"
    options = [
        "--pair",
        str(task / "teacher"),
        "--teacher_args",
        f"--config promptsrc/debug --data.shots 4 {small} --average.points 2",
    ]
    options += ["--fit_args", f"--config promptkd/debug --model.pair ./student {small}"]
    run(task, *options)
    found = json.loads((task / "exp/promptkd/student/last-test.json").read_text())
    assert found["rows"] == 12
    assert {k: found["base_novel"][k]["items"] for k in ("base", "novel")} == {"base": 6, "novel": 6}
    best = json.loads((task / "exp/promptkd/student/best-test.json").read_text())  # both are reported
    assert best["rows"] == 12
    regime = json.loads((task / "exp/promptkd/teacher/regime.json").read_text())
    assert regime["steps"][0]["labelled"]["labels"] == {"dog": 4, "cat": 4}
    student = json.loads((task / "exp/promptkd/student/regime.json").read_text())
    assert student["before"]["teacher.pair"] == regime  # what the teacher learnt from goes with it
    said = run(task, *options)  # all of it is done
    assert said.stderr.count("stage 5: fit") == 2
    assert "2 steps are done already" in said.stdout

    other, names = task.parent.parent / "pets" / "promptkd1", ("photo", "sound", "large dog")
    shutil.copytree(REPO / "egs" / "dtd" / "promptkd1", other)
    coop_layout(other / "downloads" / "oxford_pets", "split_zhou_OxfordPets.json", names)
    (other / "exp" / "promptkd").mkdir(parents=True)
    (other / "exp" / "promptkd" / "teacher").symlink_to("../../../../corpus/tok1/exp/promptkd/teacher")
    student = f"--config promptkd/debug --model.pair {task}/student --model.prompt_depth 1 {small}"
    run(other, "--step", "student", "--data_args", "--set OxfordPets", "--fit_args", student)
    found = json.loads((other / "exp/promptkd/student/last-test.json").read_text())
    assert (found["rows"], sorted(found["labels"])) == (9, sorted(names))


def test_vl2v_leaves_one_domain_out_after_another(tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "pacs" / "vl2v1", tmp_path)
    domains = ("art_painting", "cartoon", "photo", "sketch")
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    for k, domain in enumerate(domains):
        digit_files(task / "downloads" / "PACS" / domain, 4 * k, 4, classes)
    save_pair("clip", task / "clip")
    small = f"--config vl2v/debug {RUN} --data.batch_size 2"
    backbone = "--model.backbone test_resnet"
    options = ["--pair", "./clip", "--teacher_args", f"{small} {backbone}", "--leave_out", "photo sketch"]
    run(task, *options, "--fit_args", small, "--checkpoint", "last")
    for domain in ("photo", "sketch"):
        found = json.loads((task / f"exp/vl2v/{domain}/distill/last-{domain}.json").read_text())
        assert (found["rows"], list(found["by_domain"]["domains"])) == (28, [domain])
    run(
        task,
        *options,
        "--fit_args",
        small,
        "--checkpoint",
        "last",
        "--step",
        "erm",
        "--leave_out",
        "photo",
    )
    assert (task / "exp/vl2v/photo/erm/last-photo.json").is_file()


def test_s3a_names_pictures_out_of_a_vocabulary(tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "imagenet_subset" / "s3a1", tmp_path)
    digit_files(task / "downloads" / "train", 0, 8)
    digit_files(task / "downloads" / "val", 8, 3)
    save_pair("clip", task / "clip")
    (task / "words.txt").write_text("\n".join(sorted({*NAMES, "photo", "sound", "large", "bad"})) + "\n")
    words = "--vocabulary.source list --vocabulary.path words.txt"
    run(
        task, "--pair", "./clip", "--data_args", "--wordnet none",
        "--fit_args", f"--config s3a/debug {words} {RUN} --structure.clusters 4",
    )  # fmt: skip
    for which in ("last", "init"):
        found = json.loads((task / f"exp/s3a/s3a/{which}-test.json").read_text())
        assert found["rows"] == 12


def test_promptkd_for_sound(two_cities: Path, beckett: Path, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "esc50" / "promptkd1", tmp_path)
    shutil.copytree(REPO / "egs" / "esc50" / "clip1", task.parent / "clip1")
    root = task / "downloads" / "ESC-50-master"
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    table = [["filename", "fold", "target", "category"]]
    for label, path in (("clock", two_cities), ("rain", beckett)):
        wav, rate = sf.read(path)
        for fold in range(1, 6):
            table.append([f"{fold}-{label}.wav", str(fold), "0", label])
            sf.write(root / "audio" / f"{fold}-{label}.wav", wav[fold * rate : (fold + 1) * rate], rate)
    with open(root / "meta" / "esc50.csv", "w", newline="") as f:
        csv.writer(f).writerows(table)
    save_pair("clap", task / "clap")
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=24, depth=2, heads=2)).save_pretrained(task / "atst")
    small = f"{RUN} --optim.warmup_steps 1 --data.crop_s 0.5 --data.val_crop_s 0.5 --data.batch_size 2"
    teacher = f"--config conf/teacher.yaml {small} --model.text_depth 2 --data.shots 2 --average.points 2"
    student = f"--config conf/student.yaml --config promptkd/debug {small} --model.encoder ./atst"
    run(task, "--pair", "./clap", "--teacher_args", teacher, "--fit_args", student)
    assert not (task / "data/unlabelled/utt2label").exists()
    found = json.loads((task / "exp/promptkd/student/last-test.json").read_text())
    assert (found["rows"], found["base_novel"]["novel"]["items"]) == (2, 1)


@pytest.mark.parametrize("recipe", ["dtd/promptkd1", "pacs/vl2v1", "imagenet_subset/s3a1", "esc50/promptkd1"])
def test_what_is_not_there_is_said(recipe: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / recipe, tmp_path)
    done = subprocess.run(["./run.sh", "--stop_stage", "data"], cwd=task, env=ENV, capture_output=True, text=True)
    assert done.returncode != 0
    assert "downloads" in done.stderr
