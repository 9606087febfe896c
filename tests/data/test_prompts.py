"""Prompts from every kind of place, and what is said of lines that hold none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiokd.data.items import Item, write_items
from audiokd.data.prompts import Prompt, read_prompts
from audiokd.errors import AudiokdError


def texts(path: Path | str, **how: str) -> list[str]:
    return [p.text(False) for p in read_prompts(path, **how)]


def test_a_text_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.txt"
    lines = [b"a red fox", b"", "  a caf\u00e9 \r".encode(), b"broken \xff line", b"   ", b"the last one"]
    file.write_bytes(b"\n".join(lines))
    found = read_prompts(file)
    assert [(p.id, p.caption) for p in found] == [
        ("0000001", "a red fox"),
        ("0000003", "a caf\u00e9"),
        ("0000006", "the last one"),
    ]
    said = capsys.readouterr().err
    assert f"3 lines without a prompt are left out: {file}:2: empty" in said
    file.write_bytes(b"\xfe\n\n")
    with pytest.raises(AudiokdError, match="holds no prompt"):
        read_prompts(file)
    assert f"{file}:1: not UTF-8: byte 0xfe" in capsys.readouterr().err


def test_items_and_labels(tmp_path: Path) -> None:
    write_items(tmp_path / "items", [Item("a", "a.png", label="7"), Item("b", "b.png", label="7", caption="a seven")])
    found = read_prompts(tmp_path / "items")
    assert found == [Prompt("a", "7"), Prompt("b", "7", "a seven")]
    assert [p.text(True) for p in found] == ["7", "7"]
    assert [p.text(False) for p in found] == ["7", "a seven"]
    write_items(tmp_path / "bare", [Item("a", "a.png")])
    with pytest.raises(AudiokdError, match="1 of 1 items have neither label nor caption: a"):
        read_prompts(tmp_path / "bare")
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "sound" / "utt2label").write_text("a kick\n")
    assert read_prompts(tmp_path / "sound") == [Prompt("a", "kick")]


def test_sounds_with_captions(tmp_path: Path) -> None:
    """As items have them: a model of texts is told the caption, a model of labels the label."""
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\nc c.wav\n")
    with pytest.raises(AudiokdError, match=r"neither labels nor captions(.|\n)*utt2label"):
        read_prompts(tmp_path)
    (tmp_path / "text").write_text("a  a deep  kick \nb\nc rain\n")
    assert read_prompts(tmp_path) == [Prompt("a", None, "a deep  kick"), Prompt("c", None, "rain")]
    (tmp_path / "utt2label").write_text("a kick\nb snare\n")
    found = read_prompts(tmp_path)
    assert found == [Prompt("a", "kick", "a deep  kick"), Prompt("b", "snare"), Prompt("c", None, "rain")]
    assert [p.text(False) for p in found] == ["a deep  kick", "snare", "rain"]
    (tmp_path / "utt2label").unlink()
    (tmp_path / "text").write_bytes(b"a kick\nb \xff\n")
    with pytest.raises(AudiokdError, match=r"text:2"):
        read_prompts(tmp_path)
    (tmp_path / "text").write_text("a kick\na snare\n")
    with pytest.raises(AudiokdError, match=r"text:2: a: id seen before, in line 1"):
        read_prompts(tmp_path)


def test_tables(tmp_path: Path) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"caption": "one", "other": "1"}, {"caption": "", "other": "2"}, {"caption": "three", "other": "3"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "folder" / "t.parquet")
    datasets.DatasetDict({"val": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "saved"))
    places = [tmp_path / "t.jsonl", tmp_path / "folder", tmp_path / "folder" / "t.parquet"]
    for place in places:
        assert texts(place) == ["one", "three"]
        assert texts(place, column="other") == ["1", "2", "3"]
        with pytest.raises(AudiokdError, match=r"no column text(.|\n)*caption, other"):
            read_prompts(place, column="text")
    assert texts(tmp_path / "saved", split="val") == ["one", "three"]
    with pytest.raises(AudiokdError, match=r"no split train(.|\n)*one of val"):
        read_prompts(tmp_path / "saved")
    whole = (tmp_path / "folder" / "t.parquet").read_bytes()
    for broken in (b"", b"no parquet at all", whole[:-40]):
        (tmp_path / "bad.parquet").write_bytes(broken)
        with pytest.raises(AudiokdError, match=r"bad.parquet: not read as parquet"):
            read_prompts(tmp_path / "bad.parquet")
    (tmp_path / "bad.jsonl").write_text('{"caption": "a"}\nnone\n')
    with pytest.raises(AudiokdError, match=r"bad.jsonl:2: not JSON"):
        read_prompts(tmp_path / "bad.jsonl")


def test_what_editors_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A byte order mark is no part of the first prompt, a blank line no end of a table, UTF-16 no text."""
    file, table = tmp_path / "p.txt", tmp_path / "p.jsonl"
    file.write_bytes("a fox\na caf\u00e9\n".encode("utf-8-sig"))
    assert texts(file) == ["a fox", "a caf\u00e9"]
    table.write_bytes('{"caption": "one"}\r\n\n  \n{"caption": "two"}\n\n'.encode("utf-8-sig"))
    assert [(p.id, p.caption) for p in read_prompts(table)] == [("0000001", "one"), ("0000004", "two")]
    assert f"3 lines without a prompt are left out: {table}:2: empty" in capsys.readouterr().err
    for encoding in ("utf-16", "utf-16-be", "utf-16-le"):
        file.write_bytes("a fox\na dog\n".encode(encoding))
        with pytest.raises(AudiokdError, match="holds no prompt"):
            read_prompts(file)
    assert f"{file}:1: not text: a NUL byte" in capsys.readouterr().err
    table.write_bytes('{"caption": "one"}\n'.encode("utf-16-le"))
    with pytest.raises(AudiokdError, match=r"p.jsonl:1: not JSON"):
        read_prompts(table)


def test_what_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path / "missing.txt", tmp_path, "./a/b"):
        with pytest.raises(AudiokdError, match="no prompts there"):
            read_prompts(place)
