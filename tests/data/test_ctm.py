"""Phone times: what is written is read again, and a line that is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiokd.data.ctm import Phone, read_ctm, write_ctm
from audiokd.errors import AudiokdError


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    phones = {"b": [Phone(0.0, 0.05, "t"), Phone(0.05, 123.45678, "a")], "a": [Phone(1.5, 1.57, "sil")]}
    write_ctm(tmp_path / "phones.ctm", phones)
    assert (tmp_path / "phones.ctm").read_text().splitlines()[0] == "a 1 1.5 0.07 sil"
    again = read_ctm(tmp_path)  # a data dir
    assert list(again) == ["a", "b"]
    for utt_id, of_utterance in phones.items():
        assert [p.label for p in again[utt_id]] == [p.label for p in of_utterance]
        assert [t for p in again[utt_id] for t in p[:2]] == pytest.approx([t for p in of_utterance for t in p[:2]])


def test_what_an_aligner_writes_is_read(tmp_path: Path) -> None:
    """Comments, a confidence, gaps, several spaces, times that round into each other."""
    (tmp_path / "x.ctm").write_text(";; made by X\nu A  0.00 0.101 SIL\nu A 0.1 0.05 t 0.98\n\nu A 0.30 0.1 a\n")
    assert [p.label for p in read_ctm(tmp_path / "x.ctm")["u"]] == ["SIL", "t", "a"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"u 1 0.2 t", "x.ctm:2: 4 fields, 5 or 6 expected"),
        (b"u 1 0.2 1,5 t", "x.ctm:2: times are not numbers: 0.2 1,5"),
        (b"u 1 -0.2 1 t", r"x.ctm:2: u: start -0.2 and duration 1 are no stretch"),
        (b"u 1 0.2 0 t", r"x.ctm:2: u: start 0.2 and duration 0 are no stretch"),
        (b"u 1 0.2 nan t", r"x.ctm:2: u: start 0.2 and duration nan"),
        (b"u 1 0.05 0.1 t", r"x.ctm:2: u: t starts at 0.05 s, in a that ends at 0.1 s(.|\n)*sort"),
        (b"u 1 0.2 0.1 \xff", "x.ctm:2: not UTF-8: byte 0xff at column 13"),
    ],
)
def test_a_bad_line_is_named(line: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_bytes(b"u 1 0 0.1 a\n" + line + b"\n")
    with pytest.raises(AudiokdError, match=what):
        read_ctm(tmp_path / "x.ctm")


def test_no_file_and_no_phone(tmp_path: Path) -> None:
    with pytest.raises(AudiokdError, match=r"phones.ctm: no such file(.|\n)*utterance-id channel start"):
        read_ctm(tmp_path)
    (tmp_path / "phones.ctm").write_text("\n")
    with pytest.raises(AudiokdError, match="holds no phone"):
        read_ctm(tmp_path)
