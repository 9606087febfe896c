"""Files, errors and progress: what every room stands on."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiokd.errors import AudioError, AudiokdError
from audiokd.files import atomic_folder, atomic_write, gzip_bytes, leads_out, sha256_bytes, sha256_file, write_json
from audiokd.progress import Progress, clock


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with atomic_write(target) as f:
        f.write(b"old")

    def fail_half_way() -> None:
        with atomic_write(target) as f:
            f.write(b"new")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == ["file"]


def test_a_kill_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    code = (
        "import os, signal, sys; from audiokd.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as f:\n"
        "    f.write(b'new' * 100000); f.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)]).returncode == -9
    assert target.read_bytes() == b"old"


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"

    def fill(text: str, fail: bool = False) -> None:
        with atomic_folder(target, last="b") as folder:
            for name in "abc":
                (folder / name).write_text(text)
            (folder / "sub").mkdir()
            (folder / "sub" / "d").write_text(text)
            if fail:
                raise RuntimeError("half-way")

    def there() -> dict[str, str]:
        return {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file()}

    with pytest.raises(RuntimeError, match="half-way"):
        fill("first", fail=True)
    assert not target.exists()
    fill("old")
    (target / "mine").write_text("kept")
    old = dict.fromkeys(["a", "b", "c", "sub/d"], "old") | {"mine": "kept"}
    with pytest.raises(RuntimeError, match="half-way"):
        fill("new", fail=True)
    assert there() == old
    (target / ".new.tmp1").mkdir()  # of a run that was killed
    fill("new")
    assert there() == dict.fromkeys(["a", "b", "c", "sub/d"], "new") | {"mine": "kept"}
    assert sorted(os.listdir(target)) == ["a", "b", "c", "mine", "sub"]
    with pytest.raises(AudiokdError, match="in the way: a file"), atomic_folder(target / "a"):
        pass


KILLED = """
import os, signal, sys; from audiokd.files import atomic_folder
left, replace = int(sys.argv[2]), os.replace
def count(*args):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = count
with atomic_folder(sys.argv[1]) as folder:
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (folder / name).write_text("new")
"""


@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_kill_between_files_leaves_no_folder_that_looks_whole(tmp_path: Path, files: int) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(files)]).returncode == -9
    assert not (tmp_path / "config.json").exists()
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "3"]).returncode == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        ["config.json", "model.safetensors", "preprocessor_config.json"], "new"
    )


def test_same_content_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [1, "é"]})
    write_json(tmp_path / "b", {"a": [1, "é"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    first = gzip_bytes(b"x" * 1000)
    time.sleep(1.1)  # a gzip header holds seconds
    assert gzip_bytes(b"x" * 1000) == first
    assert sha256_file(tmp_path / "a") == sha256_bytes((tmp_path / "a").read_bytes())


def test_errors_say_where_and_what_to_do_and_survive_a_process_boundary() -> None:
    e = AudioError("is empty", where="data/wav.scp:3: utterance u1", fix="leave it out")
    assert str(e) == "data/wav.scp:3: utterance u1: is empty\n  leave it out"
    back = pickle.loads(pickle.dumps(e))
    assert type(back) is AudioError
    assert (back.what, back.where, back.fix) == (e.what, e.where, e.fix)
    assert isinstance(back, AudiokdError)


def test_time_left_ignores_what_was_done_before_this_run() -> None:
    bar = Progress("train", 1000, "steps", every_s=1e9)
    bar.update(900)  # resumed here
    time.sleep(0.2)
    bar.update(910)
    assert 0.5 < bar._rate(time.monotonic()) / 50 < 1.1  # 10 steps in 0.2 s
    assert "91% 910/1,000 steps" in bar.line()
    assert clock(3725) == "1:02:05"
    assert clock(float("inf")) == "?"


def test_a_bare_switch_means_true() -> None:
    from audiokd.cli import _spell_switches

    words = ["--text", "--out", "f", "--fix", "false", "--nj", "2", "--text"]
    expected = ["--text", "true", "--out", "f", "--fix", "false", "--nj", "2", "--text", "true"]
    assert _spell_switches(words, {"--text", "--fix"}) == expected


@pytest.mark.parametrize(
    ("name", "leaves"),
    [("a", False), ("a/b..c", False), ("...", False), ("../a", True), ("a/../../b", True), ("/a", True), ("..", True)],
)
def test_a_name_that_leads_out_of_its_folder(name: str, leaves: bool) -> None:
    assert leads_out(name) is leaves
