"""Data directories: what is written comes back, every broken rule is named with its line, and mending mends."""

from pathlib import Path

import pytest

from audiokd.data.kaldi import check_data_dir, fix_data_dir, read_data_dir, write_data_dir
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


def put(root: Path, **files: str | bytes) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (root / ("wav.scp" if name == "wav" else name)).write_bytes(data)
    return root


GOOD = {
    "wav": "r1 /a/r1.wav\nr2 /a/r2.wav\n",
    "segments": "s1-a r1 0.5 2.25\ns1-b r1 2.25 -1\ns2-a r2 0 1.5 1\n",
    "text": "s1-a IT WAS THE BEST\ns1-b\ns2-a ÉTÉ 東京\n",
    "utt2spk": "s1-a s1\ns1-b s1\ns2-a s2\n",
    "spk2utt": "s1 s1-a s1-b\ns2 s2-a\n",
}


def test_read(tmp_path):
    a, b, c = read_data_dir(put(tmp_path, **GOOD))
    assert (a.id, a.path, a.recording_id, a.start_s, a.end_s, a.channel) == ("s1-a", "/a/r1.wav", "r1", 0.5, 2.25, None)
    assert (a.text, a.speaker, a.duration_s, a.where) == ("IT WAS THE BEST", "s1", 1.75, f"{tmp_path}/segments:1")
    assert (b.end_s, b.text) == (None, "")
    assert (c.channel, c.text) == (1, "ÉTÉ 東京")


def test_only_wav_scp_and_spaces_in_paths(tmp_path):
    (utt,) = read_data_dir(put(tmp_path, wav="u1 /a/my file.wav\n"))
    assert (utt.path, utt.text, utt.speaker, utt.start_s, utt.end_s) == ("/a/my file.wav", None, None, 0.0, None)


def test_relative_paths(tmp_path, monkeypatch):
    put(tmp_path / "data", wav="u1 wav/u1.wav\n")
    put(tmp_path / "data" / "wav", **{"u1.wav": "x"})
    monkeypatch.chdir(tmp_path)
    assert read_data_dir("data")[0].path == "data/wav/u1.wav"
    put(tmp_path / "wav", **{"u1.wav": "x"})  # Kaldi's way wins
    assert read_data_dir("data")[0].path == "wav/u1.wav"


def test_round_trip(tmp_path):
    utts = read_data_dir(put(tmp_path / "a", **GOOD))
    write_data_dir(tmp_path / "b", reversed(utts))
    assert check_data_dir(tmp_path / "b") == []
    again = read_data_dir(tmp_path / "b")
    assert [u.with_(where="") for u in again] == [u.with_(where="") for u in utts]
    whole = [
        Utterance(id="x", path="/x.wav", recording_id="x"),
        Utterance(id="y", path="sox y.au -t wav -", codec="pipe"),
    ]
    write_data_dir(tmp_path / "c", whole)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["wav.scp"]
    assert (tmp_path / "c" / "wav.scp").read_text() == "x /x.wav\ny sox y.au -t wav - |\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a b"}, "cannot be an id"),
        ({"path": "/a\nb"}, "cannot hold the path"),
        ({"path": "rm -rf x |"}, "cannot hold the path"),
        ({"offset": 512, "nbytes": 100}, "lies inside"),
        ({"id": "u2"}, "two utterances"),
    ],
)
def test_write_refuses(tmp_path, change, message):
    utts = [Utterance(id="u1", path="/a.wav").with_(**change), Utterance(id="u2", path="/b.wav")]
    with pytest.raises(AudiokdError, match=message):
        write_data_dir(tmp_path / "d", utts)


@pytest.mark.parametrize(
    ("change", "file_line", "message"),
    [
        ({"wav": "r1 /a\nr1 /b\nr2 /c\n"}, "wav.scp:2", "id seen before, in line 1"),
        ({"wav": "r2 /a\nr1 /b\n"}, "wav.scp:2", "not sorted"),
        ({"wav": "r1 /a\nr2\n"}, "wav.scp:2", "only an id"),
        ({"wav": "r1 /a\n\nr2 /b\n"}, "wav.scp:2", "empty line"),
        ({"wav": "r1 /a\r\nr2 /b\r\n"}, "wav.scp:1", "Windows line ending"),
        ({"wav": b"r1 /a\nr2 /\xe9.wav\n"}, "wav.scp:2", "not UTF-8: byte 0xe9"),
        ({"wav": "r1 /a\nr2 sox b.au -t wav - |\n"}, "wav.scp:2", "pipes are not allowed"),
        ({"wav": "r1 /a\n"}, "segments:3", "recording r2 is not in wav.scp"),
        ({"segments": "s1-a r1 0.5 0.5\ns1-b r1 1 2\ns2-a r2 0 1\n"}, "segments:1", "not after start"),
        ({"segments": "s1-a r1 2 1\ns1-b r1 1 2\ns2-a r2 0 1\n"}, "segments:1", "not after start"),
        ({"segments": "s1-a r1 0\ns1-b r1 1 2\ns2-a r2 0 1\n"}, "segments:1", "3 fields"),
        ({"segments": "s1-a r1 zero 1\ns1-b r1 1 2\ns2-a r2 0 1\n"}, "segments:1", "not numbers"),
        ({"segments": "s1-a r1 nan 1\ns1-b r1 1 2\ns2-a r2 0 1\n"}, "segments:1", "not a time"),
        ({"segments": "s1-a r1 0 1\ns1-b r1 1 2\n"}, "text:3", "not in segments"),
        ({"text": "s1-a A\ns2-a C\n"}, "segments:2", "not in text"),
        ({"text": "s1-a A\x07\ns1-b B\ns2-a C\n"}, "text:1", "control character U\\+0007"),
        ({"text": b"s1-a A\ns1-b \xff\ns2-a C\n"}, "text:2", "not UTF-8"),
        ({"utt2spk": "s1-a s1\ns1-b s1 s1\ns2-a s2\n"}, "utt2spk:2", "3 fields"),
        ({"utt2spk": "s1-a s1\ns1-b s1\n"}, "segments:3", "not in utt2spk"),
        ({"spk2utt": "s1 s1-a\ns2 s2-a\n"}, "spk2utt:1", "not the inverse"),
        ({"spk2utt": "s1 s1-a s1-b\n"}, "spk2utt:1", "speaker s2"),
    ],
)
def test_every_rule(tmp_path, change, file_line, message):
    root = put(tmp_path, **{**GOOD, **change})
    faults = [f for f in check_data_dir(root) if f.fatal]
    name, line = file_line.split(":")
    assert any((Path(f.file).name, f.line) == (name, int(line)) for f in faults), [str(f) for f in faults]
    with pytest.raises(AudiokdError, match=message) as e:
        read_data_dir(root)
    assert f"{tmp_path}/{file_line}: " in str(e.value)


def test_warnings_do_not_stop(tmp_path):
    root = put(tmp_path, wav="u1 /a\nu2 /b", utt2spk="u1 bob\nu2 bob\n")
    assert [f.fatal for f in check_data_dir(root)] == [False, False, False]
    assert len(read_data_dir(root)) == 2


def test_pipes_when_allowed(tmp_path):
    (utt,) = read_data_dir(put(tmp_path, wav="u1 cat /a.wav |\n"), allow_pipes=True)
    assert (utt.path, utt.codec) == ("cat /a.wav", "pipe")
    with pytest.raises(AudiokdError, match="--allow_pipes true"):
        read_data_dir(tmp_path)


@pytest.mark.parametrize("in_place", [True, False])
def test_fix(tmp_path, in_place):
    src = put(
        tmp_path / "src",
        wav="r2 /b\r\nr1 /a\nr1 /other\nr3 /c\n\n",
        segments="s2-a r2 0 1.5\ns1-a r1 0.5 2.25\ns1-b r9 0 1\ns1-c r1 3 2\ns1-d r1 0 1\ns1-e r1 0 1\n",
        text=b"s1-d D\ns1-a A\x07 B\ns2-a C\ns1-e \xff\nghost X\n",
        utt2spk="s1-a s1\ns2-a s2\ns1-d s1\ns1-e s1\n",
        utt2dur="s1-a 1.75\ns1-b 2\n",
    )
    before = {p.name: p.read_bytes() for p in src.iterdir()}
    dst = src if in_place else tmp_path / "dst"
    assert fix_data_dir(src, None if in_place else dst)
    assert check_data_dir(dst) == []
    assert [u.id for u in read_data_dir(dst)] == ["s1-a", "s1-d", "s2-a"]
    assert (dst / "wav.scp").read_text() == "r1 /a\nr2 /b\n"
    assert (dst / "text").read_text() == "s1-a A B\ns1-d D\ns2-a C\n"
    assert (dst / "spk2utt").read_text() == "s1 s1-a s1-d\ns2 s2-a\n"
    assert (dst / "utt2dur").read_text() == "s1-a 1.75\n"
    kept = src / ".backup" if in_place else src
    assert {p.name: p.read_bytes() for p in kept.iterdir() if p.is_file()} == before


def test_no_wav_scp(tmp_path):
    with pytest.raises(AudiokdError, match=r"no wav\.scp"):
        read_data_dir(tmp_path)
    with pytest.raises(AudiokdError, match="no such folder"):
        check_data_dir(tmp_path / "nope")
    with pytest.raises(AudiokdError, match="no recording"):
        read_data_dir(put(tmp_path / "e", wav=""))
