"""What the readers of published corpora share."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiokd.data.kaldi import read_data_dir
from audiokd.data.labelled import Clip, number, one_word, share, table_rows, write_task
from audiokd.data.labels import read_labels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


def test_share_is_even_and_stays_the_same() -> None:
    shares = [share(f"artist {k}") for k in range(1000)]
    assert 0 <= min(shares) < 0.01
    assert 0.99 < max(shares) < 1
    assert 0.45 < sum(s < 0.5 for s in shares) / 1000 < 0.55
    assert share("artist 0") == pytest.approx(0.3059646, abs=1e-6)  # written down: a split must not move


def test_one_word() -> None:
    assert one_word(" no  vocals\t") == "no_vocals"
    with pytest.raises(AudiokdError, match="empty"):
        one_word("  ")


def test_table_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\ufeffid,name\n1,"a, b"\n\n2,c\n', encoding="utf-8")
    rows = [(f"{path}:2", {"id": "1", "name": "a, b"}), (f"{path}:4", {"id": "2", "name": "c"})]
    assert list(table_rows(path, ("id", "name"), ",")) == rows
    path.write_text('id\tname\n1\t"Heroes\n2\tb\n')
    assert [row["name"] for _, row in table_rows(path, ("id",), quoted=False)] == ['"Heroes', "b"]
    with pytest.raises(AudiokdError, match=r"t\.csv:1: no column artist"):
        list(table_rows(path, ("id", "artist")))
    path.write_text("id\tname\n1\ta\n2\n")
    with pytest.raises(AudiokdError, match=r"t\.csv:3: 1 fields, the header has 2"):
        list(table_rows(path, ("id",)))
    with pytest.raises(AudiokdError, match="no such file"):
        list(table_rows(tmp_path / "gone", ("id",)))


@pytest.mark.parametrize("text", ["", "x", "nan", "inf"])
def test_number_refuses(text: str) -> None:
    assert number("1.5", "the time", "f:1") == 1.5
    with pytest.raises(AudiokdError, match=f"f:1: the time is '{text}', not a number"):
        number(text, "the time", "f:1")


def test_write_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = {
        s: [Clip(Utterance(f"{s}-{k}", f"/{s}{k}.wav"), ("b", f"x{k}")) for k in range(2)] for s in ("train", "test")
    }
    write_task(tmp_path, clips)
    assert capsys.readouterr().out == f"{tmp_path}: train 2, test 2; 3 labels\n"
    assert [u.path for u in read_data_dir(tmp_path / "test")] == ["/test0.wav", "/test1.wav"]
    assert read_labels(tmp_path / "train") == {"train-0": ("b", "x0"), "train-1": ("b", "x1")}
    with pytest.raises(AudiokdError, match="dev: no clip"):
        write_task(tmp_path, {**clips, "dev": []})
    with pytest.raises(AudiokdError, match="train-0: in train and dev"):
        write_task(tmp_path, {**clips, "dev": clips["train"]})
