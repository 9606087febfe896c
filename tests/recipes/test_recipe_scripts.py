"""The shell side: clean scripts, options and stages as documented, and the smallest recipe from nothing to its page."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml
from recipe_copies import BIN, ENV, FIT, RECIPES, REPO, bash, copy_recipe, tree

TASKS = sorted(p.parent for p in (REPO / "egs").glob("*/*/run.sh"))


def scripts() -> list[Path]:
    """Every script of ours (what a recipe made or fetched is not)."""
    made = ("data", "dump", "exp", "downloads")
    found = [RECIPES, *(REPO / "egs").glob("*/*")]
    return sorted(p for root in found for p in root.rglob("*.sh") if not set(p.relative_to(root).parts) & set(made))


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
        shown = (
            "--train_set S",
            "--method promptkd|vl2v|s3a",
            "--method sda|noisy|clean|kd|dml",
            "--kind dbfad|rd4ad|stfpm",
            "--kind tiue|swiftbrush|lcm|teacher",
            "--kind base|alone|kd|dkd|hints|modules",
            "--kind video|audio",
            "--method full|boxes|points",
        )
        assert any(option in said.stdout for option in shown)


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


# --- the whole path ---


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
