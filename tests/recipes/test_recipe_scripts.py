"""The shell side: clean scripts, options and stages as documented, and the smallest recipe from nothing to its page."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml

from audiokd.data.audio import load, resample
from audiokd.data.inputs import open_input
from audiokd.data.kaldi import check_data_dir
from audiokd.stages.export import export
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.store import open_store

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
RECIPES = REPO / "recipes"
TASKS = sorted(p.parent for p in (REPO / "egs").glob("*/*/run.sh"))
ENV = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "AUDIOKD_ROOT": ""}


def scripts() -> list[Path]:
    """Every script of ours (what a recipe made or fetched is not)."""
    made = ("data", "dump", "exp", "downloads")
    found = [RECIPES, *(REPO / "egs").glob("*/*")]
    return sorted(p for root in found for p in root.rglob("*.sh") if not set(p.relative_to(root).parts) & set(made))


def bash(script: str, *args: str, cwd: Path = RECIPES) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script, "script", *args], cwd=cwd, env=ENV, capture_output=True, text=True)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def copy_recipe(source: Path, root: Path) -> Path:
    """recipes/ and one task's own files in a tree of their own, so that what is made lands there."""
    shutil.copytree(RECIPES, root / "recipes")
    task = root / "egs" / "corpus" / "tok1"
    task.mkdir(parents=True)
    for name in ("run.sh", "conf", "local"):
        if (source / name).is_dir():
            shutil.copytree(source / name, task / name)
        elif (source / name).exists():
            shutil.copy2(source / name, task / name)
    return task


def test_shellcheck() -> None:
    found = scripts()
    assert len(found) > 10
    run = subprocess.run([BIN / "shellcheck", "-x", *found], cwd=REPO, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert all(os.access(p, os.X_OK) for p in found if p.name in ("run.sh", "data.sh", "tokenizer.sh"))
    assert all("set -euo pipefail" in p.read_text() for p in found if p.name in ("run.sh", "data.sh", "tokenizer.sh"))


def test_every_task_is_whole() -> None:
    assert {t.parent.name for t in TASKS} >= {
        "mini_speech",
        "festvox_ru",
        "librispeech",
        "libritts",
        "ljspeech",
        "emilia",
        "asterisk",
    }
    for task in [*TASKS, RECIPES / "TEMPLATE" / "tok1"]:
        assert len((task / "run.sh").read_text().splitlines()) <= 25, task
        assert (task / "local" / "data.sh").exists(), task


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.parent.name)
def test_every_task_has_a_readme(task: Path) -> None:
    text = (task / "README.md").read_text()
    assert "./run.sh" in text
    assert len(text.split()) > 50


@pytest.mark.parametrize(
    ("corpus", "config"), [("mini_speech", "demo"), ("festvox_ru", "small")], ids=["mini_speech", "festvox_ru"]
)
def test_the_recipes_own_configs_are_of_the_method(corpus: str, config: str) -> None:
    import dataclasses

    from audiokd.hub.auto import part
    from audiokd.stages.fit import flatten, read_config

    task = REPO / "egs" / corpus / "tok1"
    assert f"--config conf/{config}.yaml" in (task / "run.sh").read_text()
    known = flatten(dataclasses.asdict(part("lm_spt", "settings")()))
    for path in (task / "conf").glob("*.yaml"):
        tree = yaml.safe_load(path.read_text())
        cells = tree.get("cells", {"": {}})  # a grid's cells set keys on top of a config
        base = read_config(str(task / tree["config"][0] if "cells" in tree else path))
        for name, cell in cells.items():
            fit = {**tree.get("fit", {}), **cells.get(cell.get("like"), {}).get("fit", {}), **cell.get("fit", {})}
            assert (base | fit).keys() <= known.keys(), (path, name)
            model = {k[6:]: v for k, v in (base | fit).items() if k.startswith("model.")}
            part("lm_spt", "config")(**model)  # its strides and widths fit each other


# --- options and stages ---

OPTIONS = """#!/usr/bin/env bash
# What it is for.
#   --long_name X   what X is
set -euo pipefail
long_name=old
other=there
. "$1/parse_options.sh" "${@:2}"
"""


def parse(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "options.sh"
    head = OPTIONS.replace('. "$1/parse_options.sh" "${@:2}"', f'. "{RECIPES}/parse_options.sh"')
    script.write_text(head + 'printf "%s|%s|" "$long_name" "$other"; for a in "$@"; do printf "%s;" "$a"; done\n')
    return subprocess.run(["bash", script, *args], env=ENV, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("args", "out"),
    [
        ((), "old|there|"),
        (("--long_name", "new"), "new|there|"),
        (("--long-name", "new"), "new|there|"),
        (("--long_name=new", "--other=a=b c"), "new|a=b c|"),
        (("--long_name=", "rest"), "|there|rest;"),
        (("--other", "--x 1 --y 2", "a b", "--long_name", "z"), "old|--x 1 --y 2|a b;--long_name;z;"),
        (("--other", "$(touch never) `x`; *"), "old|$(touch never) `x`; *|"),
    ],
)
def test_parse_options(tmp_path: Path, args: tuple[str, ...], out: str) -> None:
    run = parse(tmp_path, *args)
    assert (run.returncode, run.stdout, run.stderr) == (0, out, "")


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--longname", "x"), "unknown option --longname"),
        (("--longname=x",), "unknown option --longname"),
        (("--a[$(touch never)]", "x"), "unknown option"),
        (("--long_name",), "option --long_name needs a value"),
    ],
)
def test_parse_options_refuses(tmp_path: Path, args: tuple[str, ...], what: str) -> None:
    run = parse(tmp_path, *args)
    assert (run.returncode, run.stdout) == (2, "")
    assert what in run.stderr
    assert not (REPO / "never").exists()


def test_help_is_the_head_of_the_script(tmp_path: Path) -> None:
    run = parse(tmp_path, "--help")
    assert (run.returncode, run.stdout) == (0, "What it is for.\n  --long_name X   what X is\n")
    for task in TASKS:
        said = bash("./run.sh --help", cwd=task)
        assert said.returncode == 0
        assert "--stop_stage N|NAME" in said.stdout
        assert "--train_set S" in said.stdout


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(str(i), i) for i in range(1, 10)]
    + [("data", 1), ("validate", 2), ("shard", 3), ("targets", 4), ("fit", 5), ("export", 6), ("tokenize", 7)]
    + [("extract", 7), ("decode", 8), ("score", 8), ("publish", 9)],
)
def test_stages_by_number_and_name(wanted: str, number: int) -> None:
    run = bash('. ./lib.sh; stage_number "$1"', wanted)
    assert (run.returncode, run.stdout) == (0, f"{number}\n")


@pytest.mark.parametrize("wanted", ["0", "10", "trian", "", "da", "data validate"])
def test_an_unknown_stage(wanted: str) -> None:
    run = bash('set -e; . ./lib.sh; n=$(stage_number "$1"); echo "went on with $n"', wanted)
    assert (run.returncode, run.stdout) == (2, "")
    assert f"unknown stage '{wanted}': use 1-9 or one of data validate" in run.stderr


def test_in_range() -> None:
    script = '. ./lib.sh; first=3 last=7; for s in $STAGES; do if in_range "$s"; then echo "$s"; fi; done'
    assert bash(script).stdout.split() == ["shard", "targets", "fit", "export", "tokenize"]


def test_run_refuses_before_it_does_anything(tmp_path: Path) -> None:
    task = copy_recipe(REPO / "egs" / "mini_speech" / "tok1", tmp_path)
    before = tree(task)
    for args, what in (
        ("--stagee 2", "unknown option --stagee"),
        ("--stage trian", "unknown stage 'trian'"),
        ("--stop_stage 11", "unknown stage '11'"),
        ("--stage 1 more", "unexpected argument 'more'"),
    ):
        run = bash(f"./run.sh {args}", cwd=task)
        assert run.returncode == 2, args
        assert what in run.stderr
    assert tree(task) == before


# --- data ---


def words(n: int) -> str:
    return f"IT WAS THE BEST OF TIMES {n}"


def test_librispeech_data(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "librispeech" / "tok1", tmp_path), tmp_path / "corpus" / "LibriSpeech"
    x, rate = sf.read(two_cities, dtype="float32")
    x = x[:: rate // 16000]
    expected: dict[str, dict[str, str]] = {}
    for part, chapters in {"train-clean-100": ["19/198", "103/1240"], "dev-clean": ["84/121123"]}.items():
        for c, chapter in enumerate(chapters):
            folder, stem = corpus / part / chapter, chapter.replace("/", "-")
            folder.mkdir(parents=True)
            lines = []
            for i in range(3):
                utt = f"{stem}-{i:04d}"
                sf.write(folder / f"{utt}.flac", x[(c * 3 + i) * 16000 :][:16000], 16000)
                lines.append(f"{utt} {words(i)}\n")
                expected.setdefault(part, {})[utt] = words(i)
            if part == "dev-clean":
                lines.append(f"{stem}-0003 ITS AUDIO IS NOT THERE\n")
            (folder / f"{stem}.trans.txt").write_text("".join(lines))
    args = ["--corpus", str(tmp_path / "corpus"), "--download", "false", "--parts", "train-clean-100,dev-clean"]
    run = subprocess.run(["local/data.sh", *args], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "left out" in run.stderr
    assert "84-121123-0003" in run.stderr
    assert sorted(p.name for p in (task / "data").iterdir()) == ["dev_clean", "train"]
    for name, part in (("train", "train-clean-100"), ("dev_clean", "dev-clean")):
        assert [f for f in check_data_dir(task / "data" / name) if f.fatal] == []
        utterances = open_input(task / "data" / name).utterances()
        assert {u.id: u.text for u in utterances} == expected[part]
        assert all(u.speaker == u.id.split("-")[0] for u in utterances)
        assert all(sf.info(u.path).frames == 16000 for u in utterances)

    run = subprocess.run(
        ["local/data.sh", *args, "--parts", "test-clean"], cwd=task, env=ENV, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "give --corpus the folder above LibriSpeech/" in run.stderr


def run_stages(task: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./run.sh", *args], cwd=task, env=ENV, capture_output=True, text=True)


def seconds_of(two_cities: Path, rate: int) -> list[np.ndarray]:
    """Twelve pieces of real speech, a second each, at a corpus' own sample rate."""
    x, recorded = sf.read(two_cities, dtype="float32", frames=48_000 * 13)
    x = resample(x, recorded, rate)
    return [x[i * rate : (i + 1) * rate] for i in range(12)]


def check_packed(task: Path, expected: dict[str, dict[str, str]], rate: int) -> None:
    """Shards of each set that hold these utterances and texts, at this rate."""
    assert {p.name for p in (task / "dump").iterdir()} == set(expected)
    for name, texts in expected.items():
        utterances = open_input(task / "dump" / name).utterances()
        assert {u.id: u.text for u in utterances} == texts
        assert {len(load(u)[0]) for u in utterances} == {rate}


def test_libritts_to_shards(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "libritts" / "tok1", tmp_path), tmp_path / "corpus" / "LibriTTS"
    pieces = iter(seconds_of(two_cities, 24_000))
    expected: dict[str, dict[str, str]] = {"train": {}, "dev_clean": {}, "test_clean": {}}
    parts = {"train-clean-100": ["19/198", "103/1240"], "dev-clean": ["84/121123"], "test-clean": ["61/70968"]}
    for (part, chapters), texts in zip(parts.items(), expected.values()):
        for chapter in chapters:
            (corpus / part / chapter).mkdir(parents=True)
            for i in range(2):
                utt = f"{chapter.replace('/', '_')}_{i:06d}_000000"
                sf.write(corpus / part / chapter / f"{utt}.wav", next(pieces), 24_000)
                (corpus / part / chapter / f"{utt}.original.txt").write_text("It was 1 of the best.")
                (corpus / part / chapter / f"{utt}.normalized.txt").write_text(f"{words(i)}\n")
                texts[utt] = words(i)
    sf.write(corpus / "dev-clean" / "84/121123" / "84_121123_000009_000000.wav", next(pieces), 24_000)  # without text
    data = f"--corpus {tmp_path / 'corpus'} --download false --parts train-clean-100,dev-clean,test-clean"
    sets = ["--train_set", "train", "--test_sets", "test_clean"]
    run = run_stages(task, "--stop_stage", "shard", "--data_args", data, *sets)
    assert run.returncode == 0, run.stderr
    assert "84_121123_000009_000000.wav: no" in run.stderr
    check_packed(task, expected, 24_000)
    assert {u.speaker for u in open_input(task / "data" / "train").utterances()} == {"19", "103"}
    run = run_stages(task, "--stop_stage", "1", "--data_args", data.replace("test-clean", "test-other"))
    assert run.returncode == 2
    assert "give --corpus the folder above LibriTTS/" in run.stderr


def test_ljspeech_to_shards(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(REPO / "egs" / "ljspeech" / "tok1", tmp_path), tmp_path / "LJSpeech-1.1"
    (corpus / "wavs").mkdir(parents=True)
    ids = [f"LJ{chapter:03d}-{i:04d}" for chapter in (1, 2, 3, 4) for i in (1, 2)]
    for utt, x in zip(ids, seconds_of(two_cities, 22_050)):
        sf.write(corpus / "wavs" / f"{utt}.wav", x, 22_050)
    rows = [f'{utt}|He said "{i}".|He said "{words(i)}".\n' for i, utt in enumerate([*ids, "LJ004-0003"])]
    (corpus / "metadata.csv").write_text("".join(rows))
    run = run_stages(task, "--stop_stage", "shard", "--data_args", f"--corpus {tmp_path} --download false")
    assert run.returncode == 0, run.stderr
    assert "metadata.csv:9: no wavs/LJ004-0003.wav" in run.stderr
    texts = {utt: f'He said "{words(i)}".' for i, utt in enumerate(ids)}
    split = {"train": ("LJ001", "LJ002"), "dev": ("LJ003",), "test": ("LJ004",)}
    check_packed(task, {s: {u: t for u, t in texts.items() if u[:5] in c} for s, c in split.items()}, 22_050)
    run = run_stages(task, "--stop_stage", "1", "--data_args", f"--corpus {tmp_path / 'wrong'} --download false")
    assert run.returncode == 2
    assert "give --corpus the folder above LJSpeech-1.1/" in run.stderr


@pytest.mark.slow
def test_emilia_from_its_tars_to_tokens(two_cities: Path, whisper_dir: Path, tmp_path: Path) -> None:
    """Nothing is unpacked but what is held out; training, export and tokens come from the tars as they lie."""
    task, corpus = copy_recipe(REPO / "egs" / "emilia" / "tok1", tmp_path), tmp_path / "Emilia" / "EN"
    corpus.mkdir(parents=True)
    pieces = iter(seconds_of(two_cities, 24_000))
    for t in range(3):
        with tarfile.open(corpus / f"EN-B00000{t}.tar", "w") as tar:
            for speaker in ("S00000", "S00001"):
                key, out = f"EN_B0000{t}_{speaker}_W000000", io.BytesIO()
                sf.write(out, next(pieces), 24_000, format="MP3")
                fields = {"id": key, "text": f" It was {t}.", "duration": 1.0, "speaker": key[:16], "language": "en"}
                for name, content in ((f"{key}.json", json.dumps(fields).encode()), (f"{key}.mp3", out.getvalue())):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    args = ["--data_args", f"--corpus {tmp_path} --held_out 1", "--baseline", "false", "--config", "lm_spt/debug"]
    fit = FIT.replace("max_steps 4", "max_steps 2")
    run = run_stages(task, *args, "--stop_stage", "fit", "--fit_args", fit, "--teacher", str(whisper_dir))
    assert run.returncode == 0, run.stderr[-3000:]
    assert not (task / "dump").exists()
    links = sorted((task / "data" / "train").glob("*.tar"))
    assert [p.name for p in links if p.is_symlink()] == ["EN-B000000.tar", "EN-B000001.tar"]
    model = str(tmp_path / "export")
    export(str(task / "exp" / "base_12hz"), model)
    for name, expected in (
        ("train", {f"EN_B0000{t}_{s}_W000000": f"It was {t}." for t in (0, 1) for s in ("S00000", "S00001")}),
        ("dev", {"EN_B00002_S00000_W000000": "It was 2."}),
        ("test", {"EN_B00002_S00001_W000000": "It was 2."}),
    ):
        tokenize(model, str(task / "data" / name), str(tmp_path / name))
        items = list(open_store(tmp_path / name).items())
        assert {x.id: x.text for x in items} == expected
        assert {x.codes.shape for x in items} == {(8, 13)}  # a second at 12.5 Hz
    run = run_stages(task, "--stop_stage", "1", "--data_args", f"--corpus {tmp_path} --languages DE,EN")
    assert run.returncode == 1
    assert "fewer than two tars Emilia/DE/DE-B*.tar" in run.stderr


def test_fetch_tar(two_cities: Path, tmp_path: Path) -> None:
    """Downloaded, checked and unpacked whole, or not there at all; what is there is not fetched."""
    (tmp_path / "src" / "Corpus" / "part").mkdir(parents=True)
    shutil.copy(two_cities, tmp_path / "src" / "Corpus" / "part" / "a.wav")
    archive = tmp_path / "part.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", tmp_path / "src", "Corpus"], check=True)
    good, out = hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "out"
    script = 'set -euo pipefail; . ./lib.sh; fetch_tar "$@"'
    bad = bash(script, archive.as_uri(), "0" * 64, str(out), "Corpus/part")
    assert bad.returncode == 2
    assert "is not the published file" in bad.stderr
    assert not (out / "Corpus").exists()
    shutil.rmtree(out)
    run = bash(script, archive.as_uri(), good, str(out), "Corpus/part")
    assert run.returncode == 0, run.stderr
    assert {p.name for p in out.iterdir()} == {"Corpus"}
    assert (out / "Corpus" / "part" / "a.wav").read_bytes() == two_cities.read_bytes()
    archive.unlink()
    assert bash(script, archive.as_uri(), good, str(out), "Corpus/part").returncode == 0
    gone = bash(script, archive.as_uri(), good, str(out), "Corpus/other")
    assert gone.returncode == 2
    assert "put the unpacked corpus at" in gone.stderr


def test_template_data(two_cities: Path, tmp_path: Path) -> None:
    task, corpus = copy_recipe(RECIPES / "TEMPLATE" / "tok1", tmp_path), tmp_path / "corpus"
    x, rate = sf.read(two_cities, dtype="float32", frames=48000)
    names = ["a.wav", "a-b.flac", "sub/x.wav", "sub/deep.er/y.ogg", "z.mp3"]
    for s in ("train", "dev", "test"):
        for name in names:
            (corpus / s / name).parent.mkdir(parents=True, exist_ok=True)
            sf.write(corpus / s / name, x, rate)
        (corpus / s / "notes.txt").write_text("no audio\n")
    run = subprocess.run(["local/data.sh", "--corpus", str(corpus)], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for s in ("train", "dev", "test"):
        assert [str(f) for f in check_data_dir(task / "data" / s) if f.fatal] == []
        utterances = open_input(task / "data" / s).utterances()
        assert {u.id: u.path for u in utterances} == {str(Path(n).with_suffix("")): str(corpus / s / n) for n in names}
    run = subprocess.run(["local/data.sh"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 2
    assert "--corpus DIR" in run.stderr


def test_asterisk_data(two_cities: Path, tmp_path: Path) -> None:
    """25 prompts of 3 s, one too short, and silence, in the packages' layout: 20 of each voice are taken."""
    task = copy_recipe(REPO / "egs" / "asterisk" / "tok_eval1", tmp_path)
    x, rate = sf.read(two_cities, dtype="float32", frames=3 * 48000)
    for package, voice in (("en", "en_US_f_Allison"), ("es", "es_MX_f_Allison"), ("it", "it_IT_m_Carlo")):
        folder = tmp_path / "debs" / f"asterisk-core-sounds-{package}-wav" / "usr/share/asterisk/sounds" / voice
        (folder / "digits").mkdir(parents=True)
        (folder / "silence").mkdir()
        for i in range(25):
            sf.write(folder / ("digits" if i % 2 else "") / f"p{i:02d}.wav", x[:: rate // 8000], 8000)
        sf.write(folder / "short.wav", x[:4000], 8000)
        sf.write(folder / "silence" / "3.wav", 0 * x[:24000], 8000)
    made = [BIN / "python", "local/make_data.py", str(tmp_path / "debs"), "data/voices"]
    run = subprocess.run(made, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.stdout == "data/voices: 60 utterances of 2 speakers\n", run.stderr
    assert [f for f in check_data_dir(task / "data" / "voices") if f.fatal] == []
    utterances = open_input(task / "data" / "voices").utterances()
    assert {u.speaker for u in utterances} == {"Allison", "Carlo"}
    assert {"Allison-en-digits-p01", "Allison-es-p24", "Carlo-it-p24"} <= {u.id for u in utterances}
    assert not any("short" in u.id or "silence" in u.id for u in utterances)
    run = subprocess.run([*made[:2], str(tmp_path), "data/voices"], cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 1
    assert "<language>_<COUNTRY>_<sex>_<Speaker>" in run.stderr


# --- the whole path ---

FIT = "--run.max_steps 4 --run.val_every 2 --run.ckpt_every 2 --run.log_every 1 --data.batch_size 1"
FIT += " --data.val_crop_s 1.28 --run.accelerator cpu"


def recipe(task: Path, *args: str) -> subprocess.Popen[str]:
    command = ["./run.sh", "--fit_args", FIT, "--baseline", "false", "--score_args", "--metrics [mel,si_sdr]", *args]
    with open(task / "log", "a") as log:
        return subprocess.Popen(command, cwd=task, env=ENV, stdout=log, stderr=log, text=True, start_new_session=True)


def kill_when(run: subprocess.Popen[str], path: Path, after_s: float) -> None:
    """kill -9 everything that the recipe runs, `after_s` after `path` has appeared."""
    deadline = time.monotonic() + 200
    while not path.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(after_s)
    assert run.poll() is None, f"it was over before it could be killed at {path}"
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.mark.slow
def test_mini_speech_from_nothing_to_its_page(speech_dir: Path, whisper_ct2_dir: Path, tmp_path: Path) -> None:
    """The fixtures are asked for so that their downloads are there; the recipe fetches them itself from the same place."""
    assert speech_dir.is_dir()
    assert whisper_ct2_dir.is_dir()
    task = copy_recipe(REPO / "egs" / "mini_speech" / "tok1", tmp_path)
    exp, rng = task / "exp" / "demo", random.Random()
    kill_when(recipe(task), exp / "metrics.csv", rng.uniform(0, 0.5))  # in stage 5
    late = rng.choice(["export/config.json", "tokens/test/store.json", "wav/test/rebuilt/beckett.wav"])
    kill_when(recipe(task, "--stage", "fit"), exp / late, rng.uniform(0, 0.05))  # in 6, 7 or 8
    assert not (exp / "report.html").exists()
    assert recipe(task, "--stage", "fit").wait(timeout=300) == 0, (late, (task / "log").read_text()[-3000:])

    assert (exp / "metrics.csv").read_text().count("4,val,loss,") == 1
    page = (exp / "report.html").read_text()
    assert page.count("<audio") >= 3  # original, rebuilt, semantic only
    assert "wer" in (exp / "scores" / "test" / "rebuilt.json").read_text()
    for system, rate in (("rebuilt", 24000), ("semantic", 16000)):
        wav, got = sf.read(exp / "wav" / "test" / system / "beckett.wav")
        assert got == rate
        assert len(wav) == pytest.approx(sf.info(speech_dir / "beckett.wav").duration * rate, abs=1)
        assert np.isfinite(wav).all()
        assert f'"system": "{system}"' in (exp / "scores" / "test" / f"{system}.json").read_text()
    for folder in (exp, task / "data", task / "dump"):
        assert not list(folder.rglob(".*.tmp*"))

    before = {d: tree(task / d) for d in ("exp", "data", "dump", "downloads")}
    (task / "log").unlink()
    assert recipe(task).wait(timeout=300) == 0, (task / "log").read_text()[-3000:]  # all of it again: nothing to do
    said = (task / "log").read_text()
    for stage in (
        "1: data",
        "2: validate data/test",
        "3: shard data/dev",
        "5: fit",
        "6: export",
        "7: tokenize",
        "8: dec",
    ):
        assert f"stage {stage}" in said
    assert "4 steps are done already" in said
    assert "1 of 1 shards are done already" in said
    for folder, files in before.items():
        after = tree(task / folder)
        changed = {k for k in files.keys() | after.keys() if files.get(k) != after.get(k)}
        assert not changed, (folder, sorted(changed))

    (task / "log").unlink()
    scored = ["--model", "exp/demo/export", "--exp", "exp/again", "--dump", "data", "--asr", "", "--teacher", ""]
    assert recipe(task, *scored, "--stage", "validate").wait(timeout=300) == 0, (task / "log").read_text()[-3000:]
    said = (task / "log").read_text()
    assert not any(f"stage {s}" in said for s in ("5: fit", "6: export", "7: tokenize train", "7: tokenize dev"))
    assert "| rebuilt | 1 | " in said
    assert "| semantic | 1 | " in said
    same = [tree(exp.parent / e / "wav" / "test")["rebuilt/beckett.wav"] for e in ("demo", "again")]
    assert same[0] == same[1]
