"""The command line from outside: exit codes, messages for the one who mistyped, and the small commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from audiokd.cli import COMMANDS, main
from audiokd.hub.auto import METHODS

AUDIOKD = str(Path(sys.executable).with_name("audiokd"))


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = 0
    try:
        main(list(argv))
    except SystemExit as e:
        code = int(e.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def undescribed(text: str) -> list[str]:
    """Arguments of a --help text that it says the type of and nothing else."""
    found = []
    for entry in re.split(r"\n  (?=\S)", text.partition("\n\n")[2])[1:]:
        said = re.match(r".+?\s{2,}(.*)", re.sub(r"\s*\n\s*", "  ", entry))
        if said is None or said[1].startswith("("):
            found.append(entry.split()[0])
    return found


@pytest.mark.parametrize("argv", [(), ("-h",), ("--help",)])
def test_help(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, out, err = ask(capsys, *argv)
    assert (code, err) == (0, "")
    assert out.startswith("usage: audiokd COMMAND")
    assert out.count("\n") == 2 + len(COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert ask(capsys, "--version") == (0, version("audiokd") + "\n", "")


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "fit"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = ask(capsys, *name.split(), "--help")
    assert code == 0
    assert f"usage: audiokd {name}" in " ".join(out.split())
    shown = {"what": "whisper_ct2", "kind": "griffin_lim"}  # a choice is shown by its values
    assert all(shown.get(p, p) in out for p in COMMANDS[name][1])
    assert undescribed(out) == []


def test_fit_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ask(capsys, "fit", "--help")
    assert (code, out.splitlines()[-1]) == (
        0,
        "methods: atst, building_sda, classifier, dbfad, detector, lit, lm_spt, mert, point_detr3d, point_sed, promptkd, "
        "promptsrc, rvq_vae, s3a, salt, speech_lm, talking_models, tiue, vl2v",
    )
    code, out, _ = ask(capsys, "fit", "lm_spt", "--help")
    assert code == 0
    assert all(o in out for o in ("--train", "--exp_dir", "--config", "--model.encoder_dim", "--run.max_steps"))
    assert "weights, batches, crops and dropout" in " ".join(out.split())  # run.seed's own line


@pytest.mark.parametrize("method", [m for m, parts in METHODS.items() if "settings" in parts])
def test_every_option_of_a_method_is_explained(capsys: pytest.CaptureFixture[str], method: str) -> None:
    code, out, _ = ask(capsys, "fit", method, "--help")
    assert code == 0
    assert out.count("--") > 20
    assert undescribed(out) == []


@pytest.mark.parametrize(
    ("argv", "near"),
    [
        (("tokenise",), "tokenize"),
        (("store", "verfy"), "store verify"),
        (("exract", "a"), "extract"),
        (("store",), "store ls"),
        (("zzz",), None),
    ],
)
def test_an_unknown_command(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], near: str | None) -> None:
    code, out, err = ask(capsys, *argv)
    assert (code, out) == (2, "")
    first = err.splitlines()[0]
    asked = " ".join(argv) if argv[0] == "store" else argv[0]
    assert first.startswith(f"error: unknown command '{asked}'")
    if near:
        assert "did you mean" in first
        assert near in first.split("did you mean")[1]
    assert "usage: audiokd COMMAND" in err


def test_options_asked_wrongly(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    io = (str(tmp_path), str(tmp_path), str(tmp_path / "out"))
    for argv, what in (
        (("tokenize",), "model_dir"),
        (("tokenize", *io, "--shard_sizes", "3"), "did you mean --shard_size"),
        (("tokenize", *io, "--shard_siz", "3"), "did you mean --shard_size"),  # a typo is no abbreviation
        (("tokenize", *io, "--shard_size", "many"), "shard_size"),
        (("tokenize", *io, "another"), "another"),
        (("export", str(tmp_path), str(tmp_path), "--checkpoint", "newest"), "checkpoint"),
        (("convert", "whisper", "a", "b"), "whisper_ct2"),
        (("export", str(tmp_path / "no_exp"), str(tmp_path / "out")), "no run here"),
    ):
        code, out, err = ask(capsys, *argv)
        assert (code, out) == (2, ""), argv
        assert what in err, argv
        assert err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_what_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, whisper_dir: Path) -> None:
    missing = str(tmp_path / "missing")
    io = ("--train", missing, "--dev", missing, "--exp_dir", str(tmp_path / "exp"))
    for argv, what in (
        (("fit", "lm_spt", "--config", "lm_spt/debug", *io), "no such file or folder"),
        (("shard", missing, str(tmp_path / "dump")), "no such file or folder"),
        (("tokenize", missing, missing, str(tmp_path / "out")), "no such folder"),
        (("decode", missing, missing, str(tmp_path / "out")), missing),
        (("store", "verify", missing), missing),
        (("report", missing), "no run here"),
        (("tokenize", str(whisper_dir), missing, str(tmp_path / "out")), "is not a tokenizer"),
        (("convert", "whisper_ct2", str(tmp_path), str(tmp_path / "out")), "no model.bin"),
    ):
        code, _, err = ask(capsys, *argv)
        assert code == 1, argv
        assert what in err, argv
        assert "\n  " in err or "not a tokenizer" in err, argv  # what to do
    assert not (tmp_path / "exp").exists()
    assert not (tmp_path / "out").exists()


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    for argv, code in ((["--version"], 0), (["shard", str(tmp_path / "x"), str(tmp_path / "y")], 1), (["shrd"], 2)):
        run = subprocess.run([AUDIOKD, *argv], capture_output=True, text=True)
        assert run.returncode == code
        assert "Traceback" not in run.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head` does, but surely before we write
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with os.fdopen(write, "w") as pipe:
        run = subprocess.run([AUDIOKD, "--help"], stdout=pipe, stderr=subprocess.PIPE, text=True, env=env)
    assert (run.returncode, run.stderr) == (1, "")


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ask(capsys, "doctor")
    assert (code, err) == (0, "")
    extras = ("score", "exports", "music", "sed", "s3", "ray", "slurm", "vision", "video", "diffusion", "onnx")
    for name in ("python", "torch", "lightning", "devices", "audio", "video", "disk", *(f"extra {e}" for e in extras)):
        assert any(line.startswith(name) for line in out.splitlines()), name
    assert all(f in out for f in ("WAV", "FLAC", "OGG", "MP3"))
    assert "missing" not in out
    assert f"{len(os.sched_getaffinity(0))} CPU cores" in out
    assert f"PyAV {version('av')}; torchcodec {version('torchcodec')}" in out


def test_convert_whisper(
    capsys: pytest.CaptureFixture[str], whisper_ct2_dir: Path, whisper_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tiny.en"
    assert ask(capsys, "convert", "whisper_ct2", str(whisper_ct2_dir), str(out))[:2] == (0, f"{out}: written\n")
    files = {p.name for p in out.iterdir()}
    assert files >= {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}
    for name in files:
        assert (out / name).read_bytes() == (whisper_dir / name).read_bytes()
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["d_model"], config["encoder_layers"]) == ("whisper", 384, 4)
    assert os.path.getsize(out / "model.safetensors") > 140e6


def test_convert_atst(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Either branch of an official checkpoint to a folder, and the folder back to a file; what it cannot read is said."""
    official = Path(__file__).parents[1] / "methods" / "data" / "atst" / "frame.ckpt"
    out, back = tmp_path / "model", tmp_path / "back.ckpt"
    assert ask(capsys, "convert", "atst", str(official), str(out), "--num_heads", "3")[:2] == (0, f"{out}: written\n")
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["kind"], config["dim"], config["heads"]) == ("atst", "frame", 24, 3)
    assert ask(capsys, "convert", "atst_official", str(out), str(back))[0] == 0
    assert back.stat().st_size > 10_000
    student = tmp_path / "student"
    assert ask(capsys, "convert", "atst", str(official), str(student), "--num_heads=3", "--branch=student")[0] == 0
    assert (student / "model.safetensors").read_bytes() != (out / "model.safetensors").read_bytes()
    (tmp_path / "garbage.ckpt").write_bytes(b"garbage" * 100)
    code, _, said = ask(capsys, "convert", "atst", str(tmp_path / "garbage.ckpt"), str(tmp_path / "none"))
    assert code == 1
    assert "garbage.ckpt: no checkpoint of torch, or not whole" in said
    assert "weights_only" not in said
