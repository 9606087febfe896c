"""Tars as Emilia and others are published: read in place, by every kind of reader, and refused by name where damaged."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data.audio import load, load_crop
from audiokd.data.inputs import open_input
from audiokd.data.webdataset import read_tar
from audiokd.errors import AudiokdError
from audiokd.stages.shard import shard
from audiokd.stages.validate import validate


def encode(x: np.ndarray, rate: int, suffix: str) -> bytes:
    out = io.BytesIO()
    sf.write(out, x, rate, format=suffix.upper())
    return out.getvalue()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def emilia(key: str, speaker: str, seconds: float, text: str) -> bytes:
    """The json of an Emilia utterance."""
    wav = f"{speaker[:9]}/{speaker}/mp3/{key}.mp3"
    fields = {"id": key, "wav": wav, "text": f" {text}", "duration": seconds, "speaker": speaker, "language": "en"}
    return json.dumps(fields | {"dnsmos": 3.4}).encode()


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> tuple[np.ndarray, int]:
    x, rate = sf.read(two_cities, dtype="float32", frames=48_000 * 9)
    return x[::2], rate // 2  # Emilia is 24 kHz


@pytest.fixture(scope="module")
def corpus(speech: tuple[np.ndarray, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, rate = speech
    root = tmp_path_factory.mktemp("emilia") / "EN"
    for t in range(2):
        members = {}
        for i in (1, 0):
            key = f"EN_B0000{t}_S00000_W00000{i}"
            members[f"{key}.json"] = emilia(key, key[:16], 2.0, f"words {t} {i}")
            members[f"{key}.mp3"] = encode(x[(2 * t + i) * 2 * rate :][: 2 * rate], rate, "mp3")
        write_tar(root / f"EN-B00000{t}.tar", members)
    return root


def test_a_folder_of_tars(corpus: Path, speech: tuple[np.ndarray, int]) -> None:
    found = open_input(corpus)
    assert (found.kind, [s.name for s in found.shards]) == ("webdataset", ["00000", "00001"])
    utterances = found.utterances()
    assert [u.id[-7:] for u in found.shards[1].load()] == ["W000001", "W000000"]  # in the tar's own order
    assert utterances[0].id == "EN_B00000_S00000_W000001"
    assert (utterances[0].text, utterances[0].speaker, utterances[0].duration_s) == (
        "words 0 1",
        "EN_B00000_S00000",
        2.0,
    )
    for utt, at in zip(utterances, (1, 0, 3, 2)):
        x, rate = load(utt)
        want = speech[0][at * 2 * rate :][: 2 * rate]
        assert (rate, len(x)) == (24_000, 48_000)
        assert np.corrcoef(x, want)[0, 1] > 0.98  # an mp3 of it, from its own place in the tar
        assert np.array_equal(load_crop(utt, 24_000, 0.5, 1.0), x[12_000:36_000])
    one = open_input(corpus / "EN-B000001.tar")
    assert [u.id for u in one.utterances()] == [u.id for u in utterances[2:]]
    assert len(one) == 2


def test_shard_packs_it_tar_by_tar(corpus: Path, tmp_path: Path) -> None:
    summary = shard(str(corpus), str(tmp_path / "dump"))
    assert [s["utterances"] for s in summary["shards"]] == [2, 2]
    packed = {u.id: u for u in open_input(tmp_path / "dump").utterances()}
    for utt in open_input(corpus).utterances():
        assert np.array_equal(load(packed[utt.id])[0], load(utt)[0])
        assert (packed[utt.id].text, packed[utt.id].speaker) == (utt.text, utt.speaker)


def test_validate_and_quarantine(corpus: Path, tmp_path: Path) -> None:
    good = (corpus / "EN-B000000.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(good)
    write_tar(tmp_path / "b.tar", {"bad.mp3": b"no audio at all", "bad.json": b"{}"})
    report = validate(str(tmp_path), max_error_rate=0.5)
    assert (report["utterances"], report["bad"], report["warnings"]) == (3, 1, [])
    assert report["formats"] == {"mp3 MPEG_LAYER_III": 2}
    assert f"{tmp_path / 'b.tar'}:bad.mp3" in report["audio"][0]["where"]
    assert {u.id for u in open_input(tmp_path).utterances()} == {f"EN_B00000_S00000_W00000{i}" for i in range(2)}


def test_other_corpora(speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    """Folders in keys, a text file in place of json, no text at all, names with more than one dot, hidden files."""
    wav = encode(speech[0][:8_000], speech[1], "flac")
    members = {"./a/x.flac": wav, "./a/x.txt": b"hello there\n", "./b/x.WAV": wav, ".hidden.flac": wav, "c.y.wav": wav}
    utterances = read_tar(write_tar(tmp_path / "t.tar", members))
    assert {u.id: u.text for u in utterances} == {"a/x": "hello there", "b/x": None}
    assert all(u.duration_s is None and u.speaker is None and len(load(u)[0]) == 8_000 for u in utterances)


def test_a_bad_json_costs_the_text_only(
    speech: tuple[np.ndarray, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav = encode(speech[0][:8_000], speech[1], "flac")
    for name, content in {
        "half": b'{"text": "a',
        "list": b"[1]",
        "latin": b'{"text": "\xe9"}',
        "odd": b'{"text": 3}',
    }.items():
        tar = write_tar(tmp_path / f"{name}.tar", {"u.flac": wav, "u.json": content})
        assert [(u.id, u.text) for u in read_tar(tar)] == [("u", None)]
        assert (f"{tar}:u.json: cannot be read" in capsys.readouterr().err) == (name != "odd")


def test_what_is_refused(corpus: Path, speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    wav = encode(speech[0][:8_000], speech[1], "flac")
    cases = {
        "no audio in this tar": write_tar(tmp_path / "codes.tar", {"u.npy": b"x"}),
        r"the key u comes twice: u\.flac and u\.wav": write_tar(tmp_path / "twice.tar", {"u.flac": wav, "u.wav": wav}),
        r"member '\.\./evil\.flac' is refused": write_tar(tmp_path / "up.tar", {"u.flac": wav, "../evil.flac": wav}),
        r"member 'a/\.\./\.\./evil\.json' is refused": write_tar(
            tmp_path / "text.tar", {"u.flac": wav, "a/../../evil.json": b"{}"}
        ),
        r"member '/evil\.flac' is refused": write_tar(tmp_path / "root.tar", {"/evil.flac": wav}),
        "not a whole tar.*\n.*a compressed tar": write_tar(tmp_path / "gz.tar", {"u.flac": wav}, "w:gz"),
    }
    cut = tmp_path / "cut.tar"
    cut.write_bytes((corpus / "EN-B000000.tar").read_bytes()[:20_000])
    cases["not a whole tar: unexpected end of data"] = cut
    for what, tar in cases.items():
        with pytest.raises(AudiokdError, match=what) as e:
            open_input(tar).utterances()
        assert str(e.value).startswith(str(tar))
