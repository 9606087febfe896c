"""Corpora of labelled clips in their published layouts, on pieces of real speech: what the data scripts make of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from recipe_copies import ENV, REPO, copy_recipe

from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.data.labels import read_labels


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> np.ndarray:
    return sf.read(two_cities, dtype="float32")[0][::3]


def make(recipe: str, corpus: Path, tmp_path: Path, *options: str) -> tuple[Path, str]:
    """Stage 1 of a recipe; its folder and what it said."""
    task = copy_recipe(REPO / "egs" / recipe, tmp_path)
    args = ["--stop_stage", "data", "--data_args", f"--corpus {corpus} {' '.join(options)}".strip()]
    run = subprocess.run(["./run.sh", *args], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return task, run.stdout


def write(path: Path, wav: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wav, rate)


def check(folder: Path, labels: dict[str, tuple[str, ...]]) -> None:
    assert [f for f in check_data_dir(folder) if f.fatal] == []
    assert {u.id for u in open_input(folder).utterances()} == labels.keys()
    assert read_labels(folder) == labels


def test_esc50(speech: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus" / "ESC-50-master"
    rows = [("1-100032-A-0", 1, 0, "dog"), ("2-1-A-14", 2, 14, "chirping_birds"), ("3-7-B-0", 3, 0, "dog")]
    (root / "meta").mkdir(parents=True)
    lines = [f"{name}.wav,{fold},{target},{kind},True,100032,A\n" for name, fold, target, kind in rows]
    (root / "meta" / "esc50.csv").write_text("filename,fold,target,category,esc10,src_file,take\n" + "".join(lines))
    for k, (name, *_) in enumerate(rows):
        write(root / "audio" / f"{name}.wav", speech[k * 1000 :][:80_000], 44_100)
    task, said = make("esc50/clip1", tmp_path / "corpus", tmp_path)
    assert "3 clips of 2 classes in 3 folds" in said
    check(task / "data" / "esc50", {name: (kind,) for name, _, _, kind in rows})
    assert read_labels(task / "data" / "esc50" / "utt2fold") == {name: (str(fold),) for name, fold, *_ in rows}


def test_speech_commands(speech: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus" / "speech_commands_v0.02"
    for k, name in enumerate(
        ("yes/a_nohash_0", "yes/b_nohash_0", "no/a_nohash_0", "no/c_nohash_1", "_background_noise_/tap")
    ):
        write(root / f"{name}.wav", speech[k * 1000 :][:16_000])
    (root / "validation_list.txt").write_text("yes/b_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("no/c_nohash_1.wav\n")
    task, said = make("speechcommands/clip1", tmp_path / "corpus", tmp_path)
    assert "2 clips of 2 words" in said
    words = task / "data" / "words"
    check(words / "train", {"yes-a_nohash_0": ("yes",), "no-a_nohash_0": ("no",)})
    check(words / "dev", {"yes-b_nohash_0": ("yes",)})
    check(words / "test", {"no-c_nohash_1": ("no",)})
    assert {u.speaker for u in open_input(words / "train").utterances()} == {"a"}


def test_fsd50k(speech: np.ndarray, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    (root / "FSD50K.ground_truth").mkdir(parents=True)
    dev = (
        'fname,labels,mids,split\n64760,"Electric_guitar,Guitar,Music","/m/1,/m/2,/m/3",train\n16399,Crying,/m/4,val\n'
    )
    (root / "FSD50K.ground_truth" / "dev.csv").write_text(dev)
    (root / "FSD50K.ground_truth" / "eval.csv").write_text('fname,labels,mids\n37199,"Guitar,Music","/m/2,/m/3"\n')
    for name in ("dev_audio/64760", "dev_audio/16399", "eval_audio/37199"):
        write(root / f"FSD50K.{name}.wav", speech[:20_000], 44_100)
    task, _ = make("fsd50k/clip1", root, tmp_path)
    check(task / "data/fsd50k/train", {"dev-64760": ("Electric_guitar", "Guitar", "Music")})
    check(task / "data/fsd50k/dev", {"dev-16399": ("Crying",)})
    check(task / "data/fsd50k/test", {"eval-37199": ("Guitar", "Music")})


def test_audioset(speech: np.ndarray, tmp_path: Path) -> None:
    """Files named in four ways, one that is gone, and an id that begins with a dash."""
    root = tmp_path / "corpus"
    root.mkdir()
    head = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3\n# YTID, start_seconds, end_seconds, positive_labels\n"
    balanced = [
        '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"',
        '-0DLPzsiXXE, 30.000, 40.000, "/m/04rlf"',
        'gone, 0.000, 10.000, "/m/1"',
    ]
    (root / "balanced_train_segments.csv").write_text(head + "\n".join(balanced) + "\n")
    (root / "unbalanced_train_segments.csv").write_text(head + 'abc, 30.000, 40.000, "/m/04rlf"\n')
    (root / "eval_segments.csv").write_text(head + 'xyz, 20.500, 30.500, "/m/04rlf,/m/1"\n')
    for name in ("sub/--4gqARaEJE_0_10000", "Y-0DLPzsiXXE", "abc_30", "xyz_20500"):
        write(tmp_path / "audio" / f"{name}.flac", speech[:160_000])
    task, said = make("audioset/ssl1", root, tmp_path, f"--audio {tmp_path / 'audio'}")
    assert "balanced_train: 2 segments, 1 without audio" in said
    assert "3 segments to pretrain on" in said
    heard = {u.id for s in ("train", "dev") for u in open_input(task / "data" / s).utterances()}
    assert heard == {"Y--4gqARaEJE-0", "Y-0DLPzsiXXE-30", "Yabc-30"}
    probed = read_labels(task / "data/as20k/train") | read_labels(task / "data/as20k/dev")
    assert probed == {"Y--4gqARaEJE-0": ("/m/068hy", "/m/07q6cd_"), "Y-0DLPzsiXXE-30": ("/m/04rlf",)}
    check(task / "data/as20k/test", {"Yxyz-20.5": ("/m/04rlf", "/m/1")})
    assert read_labels(task / "data/as2m/dev") == read_labels(task / "data/as20k/dev")
    both = read_labels(task / "data/as2m/train") | read_labels(task / "data/as2m/dev")
    assert both == {**probed, "Yabc-30": ("/m/04rlf",)}


@pytest.mark.parametrize("recipe", ["esc50/clip1", "speechcommands/clip1", "fsd50k/clip1", "audioset/ssl1"])
def test_a_corpus_that_is_not_there(recipe: str, tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / recipe, tmp_path)
    run = subprocess.run(["./run.sh", "--stop_stage", "data"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 2
    assert "--corpus FOLDER" in run.stderr
