"""Names that are no ids, from the folder to the store and back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from tokenized import codes_of

from audiokd.data.ids import unescape_id
from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.stages.decode import decode
from audiokd.stages.extract import extract
from audiokd.stages.shard import shard
from audiokd.stages.tokenize import tokenize
from audiokd.tokens.export import export_store
from audiokd.tokens.store import open_store, verify_store

#: spaces, an end of line, a percent sign, what looks encoded, another script, the longest name that a file may have
NAMES = ["my file", "line\nend", "100%", "a%20b", "b/ü/日本", "x" * 250, "tab\there"]
LONG = "/".join(["y" * 120] * 3)  # more than 300 characters


@pytest.fixture
def folder(corpus: Path, tmp_path: Path) -> Path:
    for name in (*NAMES, LONG):
        path = tmp_path / "wav" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((corpus / "wav" / "a16.wav").read_bytes())
    return tmp_path / "wav"


def test_names_of_files(model_dir: str, folder: Path, tmp_path: Path) -> None:
    tokenize(model_dir, str(folder), str(tmp_path / "s"), shard_size=3, threads=1)
    found = codes_of(tmp_path / "s")
    assert {unescape_id(i) for i in found} == {*NAMES, LONG}
    assert all(len(i.split()) == 1 for i in found)
    assert {"my%20file", "a%2520b", "b/ü/日本", LONG} <= found.keys()
    assert verify_store(tmp_path / "s") == []
    assert decode(model_dir, str(tmp_path / "s"), str(tmp_path / "wavs")) == len(found)
    assert {str(p.relative_to(tmp_path / "wavs"))[:-4] for p in (tmp_path / "wavs").rglob("*.wav")} == found.keys()
    shard(str(folder), str(tmp_path / "dump"))
    tokenize(model_dir, str(tmp_path / "dump"), str(tmp_path / "t"), threads=1)  # ids of shards are ids already
    assert codes_of(tmp_path / "t").keys() == found.keys()
    out = export_store(tmp_path / "s", tmp_path / "kaldi", "kaldi")
    lines = (out / "tokens.0.txt").read_text().splitlines()
    assert {line.split(" ", 1)[0] for line in lines} == found.keys()


def test_keys_of_a_tar_and_ids_of_cuts(corpus: Path, tmp_path: Path) -> None:
    wav = (corpus / "wav" / "a16.wav").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("one two.wav", "a%20b.wav"):
            member = tarfile.TarInfo(name)
            member.size = len(wav)
            tar.addfile(member, io.BytesIO(wav))
    assert [u.id for u in open_input(tmp_path / "a.tar").utterances()] == ["one%20two", "a%20b"]
    source = {"type": "file", "channels": [0], "source": str(corpus / "wav" / "a16.wav")}
    recording = {"id": "r s", "sources": [source], "sampling_rate": 48000, "num_samples": 240000, "duration": 5.0}
    cut = {"id": "c d", "start": 0.0, "duration": 5.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut) + "\n")
    (utt,) = open_input(tmp_path / "cuts.jsonl").utterances()
    assert (utt.id, utt.recording_id) == ("c%20d", "r%20s")


def test_an_id_that_no_file_can_have(model_dir: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"{'z' * 300} {corpus / 'wav' / 'a16.wav'}\n")
    tokenize(model_dir, str(tmp_path / "data"), str(tmp_path / "s"), threads=1)
    with pytest.raises(AudiokdError, match="zzz' is too long for the name of a file"):
        decode(model_dir, str(tmp_path / "s"), str(tmp_path / "wavs"))


def test_two_files_of_one_stem(folder: Path) -> None:
    (folder / "my file.flac").write_bytes((folder / "my file.wav").read_bytes())
    with pytest.raises(
        AudiokdError, match=r"two utterances have the id my%20file: .*my file\.(wav|flac) and .*my file\."
    ):
        open_input(folder)


def test_one_key_in_two_tars(corpus: Path, tmp_path: Path) -> None:
    """Tars are read by their workers, one by one: it is seen when the store is finished, which it is not."""
    wav = (corpus / "wav" / "a16.wav").read_bytes()
    (tmp_path / "tars").mkdir()
    for name in ("0", "1"):
        with tarfile.open(tmp_path / "tars" / f"{name}.tar", "w") as tar:
            for key in ("same", f"own{name}"):
                member = tarfile.TarInfo(f"{key}.wav")
                member.size = len(wav)
                tar.addfile(member, io.BytesIO(wav))
    with pytest.raises(AudiokdError, match="two utterances have the id same: in shard 00000 and in 00001"):
        extract("log_mel", str(tmp_path / "tars"), str(tmp_path / "s"), layer="frames", threads=1)
    assert not open_store(tmp_path / "s").complete
