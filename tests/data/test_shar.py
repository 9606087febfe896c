"""Shards keep every sample, lhotse reads ours, we read lhotse's, and nothing in an archive leads out of it."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data import shar
from audiokd.data.audio import load, load_channels
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


@pytest.fixture(scope="module")
def utts(two_cities: Path, tmp_path_factory) -> list[Utterance]:
    """Whole files and segments of every kind of source, one with a `/` and one with a dot in its id."""
    x, sample_rate = sf.read(two_cities, dtype="float32", start=2 * 48000, frames=4 * 48000)
    root = tmp_path_factory.mktemp("sources")
    stereo = np.stack([x, np.roll(x, 4800) * np.float32(0.5)], axis=1)
    loud = x / np.abs(x).max() * np.float32(2.5)
    out = []
    for name, data, options in [
        ("a16.wav", x, {"subtype": "PCM_16"}),
        ("b24.wav", x * np.float32(0.7654321), {"subtype": "PCM_24"}),
        ("c8.wav", x, {"subtype": "PCM_U8"}),
        ("d32.wav", x * np.float32(0.7654321), {"subtype": "PCM_32"}),
        ("float.wav", loud, {"subtype": "FLOAT"}),
        ("g.flac", x, {"subtype": "PCM_24"}),
        ("m.mp3", x, {"format": "MP3"}),
        ("o.ogg", x, {"format": "OGG", "subtype": "VORBIS"}),
        ("p.opus", x, {"format": "OGG", "subtype": "OPUS"}),
        ("s16.wav", stereo, {"subtype": "PCM_16"}),
        ("s.ogg", stereo, {"format": "OGG", "subtype": "VORBIS"}),
        ("ulaw.wav", x, {"subtype": "ULAW"}),
    ]:
        sf.write(root / name, data, sample_rate, **options)
        utt = Utterance(id=name, path=str(root / name), text="It was the best of times", speaker="dickens")
        out += [utt.with_(id=f"{name}/whole"), utt.with_(id=f"{name}/cut", start_s=0.51237, end_s=2.2, text="best")]
        out += [utt.with_(id=f"{name}/tail", start_s=3.0, text=None, speaker=None)]
        if name[0] == "s":
            out += [utt.with_(id=f"{name}/right", channel=1), utt.with_(id=f"{name}/left", channel=0, start_s=1.5)]
    return sorted(out, key=lambda u: u.id)


@pytest.fixture(scope="module")
def folder(utts, tmp_path_factory) -> Path:
    """Three shards; the middle one needs no arrays."""
    root = tmp_path_factory.mktemp("shar")
    write(root, parts(utts))
    return root


def parts(utts: list[Utterance]) -> list[list[Utterance]]:
    plain = [u for u in utts if u.id.startswith(("a16", "b24", "g"))]
    rest = [u for u in utts if u not in plain]
    return [rest[:17], plain, rest[17:]]


def write(root: Path, shards: list[list[Utterance]]) -> None:
    states = [shar.write_shard(root, i, part) for i, part in enumerate(shards)]
    assert not any(s["errors"] for s in states)
    shar.finish(root, states, {})


def read(root: Path) -> list[Utterance]:
    return [utt for shard in shar.read_shar(root) for utt in shard.load()]


def test_every_sample_is_kept(utts, folder):
    ours = {u.id: u for u in read(folder)}
    assert sorted(ours) == [u.id for u in utts]
    for utt in utts:
        for policy in ("mix", "first"):
            want, rate = load(utt, policy)
            got, got_rate = load(ours[utt.id], policy)
            assert np.array_equal(got, want), (utt.id, policy)
            assert got_rate == rate
        assert (ours[utt.id].text, ours[utt.id].speaker) == (utt.text, utt.speaker)
        assert ours[utt.id].duration_s == len(want) / rate


def test_how_it_is_kept(folder):
    with tarfile.open(folder / "recording.000001.tar") as tar:
        names = tar.getnames()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}
    assert names[:4] == ["a16.wav/cut.flac", "a16.wav/cut.json", "a16.wav/tail.flac", "a16.wav/tail.json"]
    assert "a16.wav/whole.wav" in names
    kinds = {u.id: u.codec for u in read(folder)}
    for name in ("float.wav", "m.mp3", "o.ogg", "s.ogg", "d32.wav"):
        assert (kinds[f"{name}/whole"], kinds[f"{name}/cut"]) == ("", "npy")
    assert not any(kinds[f"{name}/{part}"] for name in ("a16.wav", "b24.wav", "ulaw.wav") for part in ("whole", "cut"))


def test_whole_file_is_its_own_bytes(utts, folder):
    ours = {u.id: u for u in read(folder)}
    for utt in utts:
        if utt.id.endswith("/whole"):
            kept = ours[utt.id]
            data = Path(kept.path).read_bytes()[kept.offset : kept.offset + (kept.nbytes or 0)]
            assert data == Path(utt.path).read_bytes()


def test_lhotse_reads_ours(utts, folder):
    from lhotse import CutSet

    sources = {u.id: u for u in utts}
    cuts = list(CutSet.from_shar(in_dir=folder))
    assert sorted(c.id for c in cuts) == sorted(sources)
    for cut in cuts:
        utt = sources[cut.id]
        want, rate = load_channels(utt)
        if cut.has_recording:
            got = cut.load_audio().T
            assert cut.sampling_rate == rate
            if utt.path.endswith((".mp3", ".opus")):  # lhotse may decode these with another library
                assert np.abs(got - want).max() < 1e-3
                continue
        else:
            got = np.atleast_2d(cut.load_samples()).T
            assert cut.samples_rate == rate
        assert np.array_equal(got, want), cut.id
        if utt.text:
            assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == (utt.text, utt.speaker)


def test_we_read_lhotses(utts, tmp_path):
    from lhotse import CutSet, MonoCut, Recording
    from lhotse.shar import SharWriter

    path = next(u.path for u in utts if u.id.startswith("a16"))
    stereo = next(u.path for u in utts if u.id.startswith("s16"))
    first, second = Recording.from_file(path, recording_id="r1"), Recording.from_file(stereo, recording_id="r2")
    cuts = CutSet.from_cuts(
        [
            MonoCut(id="x/1", start=0, duration=first.duration, channel=0, recording=first),
            MonoCut(id="x/2", start=1.00001, duration=1.33333, channel=0, recording=first),
            MonoCut(id="y.3", start=0.25, duration=2.0, channel=1, recording=second),
            second.to_cut(),
        ]
    )
    for kind in ("flac", "wav"):
        root = tmp_path / kind
        with SharWriter(root, fields={"recording": kind}, shard_size=3) as writer:
            (tmp_path / kind).mkdir()
            for cut in cuts:
                writer.write(cut)
        ours = read(root)
        assert [u.id for u in ours] == [c.id for c in cuts]
        for utt, cut in zip(ours, cuts):
            assert np.array_equal(load_channels(utt)[0], cut.load_audio().T), utt.id


def test_same_bytes_twice(utts, folder, tmp_path):
    write(tmp_path, parts(utts))
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert "samples.000001.tar" in files  # lhotse wants one a shard
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / file).read_bytes(), file
    assert [s.sha256 for s in shar.read_shar(folder)] == [s.sha256 for s in shar.read_shar(tmp_path)]
    assert len({s.sha256 for s in shar.read_shar(folder)}) == 3


def test_sharding_shards_again_keeps_the_samples(folder, tmp_path):
    write(tmp_path, [shard.load() for shard in shar.read_shar(folder)])
    for a, b in zip(read(folder), read(tmp_path)):
        assert np.array_equal(load(a)[0], load(b)[0]), a.id


@pytest.mark.parametrize("utt_id", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b"])
def test_ids_that_are_no_tar_names(utts, tmp_path, utt_id):
    state = shar.write_shard(tmp_path, 0, [utts[0], utts[1].with_(id=utt_id)])
    assert state["utterances"] == 1
    assert [e["id"] for e in state["errors"]] == [utt_id]


@pytest.mark.parametrize("utt_id", ["a/b/c", ".hidden", "a.b.c", "x.", "東京/1", "n" * 300, "a%20b", "..."])
def test_ids_that_are(utts, tmp_path, utt_id):
    from lhotse import CutSet

    write(tmp_path, [[utts[0].with_(id=utt_id)]])
    assert [u.id for u in read(tmp_path)] == [utt_id]
    assert np.array_equal(load(read(tmp_path)[0])[0], load(utts[0])[0])
    assert [c.id for c in CutSet.from_shar(in_dir=tmp_path)] == [utt_id]


@pytest.mark.parametrize("name", ["../evil.wav", "/evil.wav", "a/../../evil.wav"])
def test_members_that_lead_out_are_refused(utts, tmp_path, name):
    write(tmp_path, [[utts[0]]])
    with tarfile.open(tmp_path / "recording.000000.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(AudiokdError, match=r"is refused"):
        read(tmp_path)


def test_damaged_shards_are_named(utts, tmp_path):
    write(tmp_path, [utts[:4]])
    tar, cuts = tmp_path / "recording.000000.tar", tmp_path / "cuts.000000.jsonl.gz"
    whole, lines = tar.read_bytes(), gzip.decompress(cuts.read_bytes())
    tar.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudiokdError, match=r"recording\.000000\.tar: not a whole tar|has no audio"):
        read(tmp_path)
    tar.write_bytes(whole)
    cuts.write_bytes(cuts.read_bytes()[:100])
    with pytest.raises(AudiokdError, match=r"cuts\.000000\.jsonl\.gz"):
        read(tmp_path)
    ghost = json.loads(lines.splitlines()[0]) | {"id": "ghost"}
    cuts.write_bytes(gzip.compress(json.dumps(ghost).encode()))
    with pytest.raises(AudiokdError, match="ghost has no audio"):
        read(tmp_path)
    cuts.write_bytes(gzip.compress(lines))
    tar.unlink()
    (tmp_path / "samples.000000.tar").unlink(missing_ok=True)
    with pytest.raises(AudiokdError, match=r"no recording\.000000\.tar"):
        read(tmp_path)


def test_unfinished(utts, tmp_path):
    shar.write_shard(tmp_path, 0, utts[:1])
    with pytest.raises(AudiokdError, match="not finished"):
        shar.read_shar(tmp_path)
