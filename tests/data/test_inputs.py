"""INPUT: every kind is told apart, cut into fixed shards, and what cannot be an INPUT is refused by name."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from audiokd.data.audio import load
from audiokd.data.inputs import open_input
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError


def link(source: Path, *targets: Path) -> None:
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def test_folder(beckett, tmp_path):
    link(beckett, tmp_path / "b.wav", tmp_path / "sub" / "deep" / "a.1.WAV", tmp_path / "a b.wav", tmp_path / ".x.wav")
    (tmp_path / "notes.txt").write_text("no audio")
    link(tmp_path, tmp_path / "sub" / "loop")
    found = open_input(tmp_path, shard_size=2)
    assert found.kind == "folder"
    assert [u.id for u in found.utterances()] == ["a%20b", "b", "sub/deep/a.1"]
    assert [(s.name, len(s), s.sha256) for s in found.shards] == [("00000", 2, None), ("00001", 1, None)]
    assert len(found) == 3
    assert len(load(found.utterances()[2])[0]) > 100_000


def test_folder_with_an_id_twice(beckett, tmp_path):
    link(beckett, tmp_path / "x" / "a.wav", tmp_path / "x" / "a.flac")
    with pytest.raises(AudiokdError, match=r"id x/a: .*a\.(wav|flac) and .*a\.(wav|flac)"):
        open_input(tmp_path)


def test_one_file(beckett):
    found = open_input(str(beckett))
    assert (found.kind, [u.id for u in found.utterances()]) == ("file", ["beckett"])


def test_data_dir_without_its_quarantine(beckett, tmp_path):
    (tmp_path / "wav.scp").write_text("".join(f"u{i} {beckett}\n" for i in range(5)))
    assert len(open_input(tmp_path)) == 5
    (tmp_path / "quarantine.txt").write_text("u1 truncated: it ends early\nu4 no such file\n")
    found = open_input(tmp_path, shard_size=2)
    assert (found.kind, [u.id for u in found.utterances()]) == ("kaldi", ["u0", "u2", "u3"])
    assert [[u.id for u in s.load()] for s in found.shards] == [["u0", "u2"], ["u3"]]
    (tmp_path / "quarantine.txt").write_text("".join(f"u{i} bad\n" for i in range(5)))
    with pytest.raises(AudiokdError, match="every utterance is in quarantine"):
        open_input(tmp_path)


@pytest.fixture
def cuts(beckett, two_cities, tmp_path):
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    a, b = Recording.from_file(beckett), Recording.from_file(two_cities)
    words = SupervisionSegment(id="s", recording_id=a.id, start=0, duration=1, text="hello there", speaker="sam")
    return CutSet.from_cuts(
        [
            MonoCut(id="z", start=0, duration=a.duration, channel=0, recording=a, supervisions=[words]),
            MonoCut(id="b", start=2.000011, duration=1.5, channel=0, recording=b),
            MonoCut(id="c", start=3.3333333, duration=0.7777777, channel=0, recording=b),
        ]
    )


@pytest.mark.parametrize("name", ["cuts.jsonl", "train_cuts.jsonl.gz"])
def test_lhotse_cuts(cuts, tmp_path, name):
    cuts.to_file(tmp_path / name)
    found = open_input(tmp_path / name)
    assert found.kind == "cuts"
    assert [u.id for u in found.utterances()] == ["b", "c", "z"]
    for utt in found.utterances():
        assert np.array_equal(load(utt)[0], cuts[utt.id].load_audio()[0]), utt.id
    assert (found.utterances()[2].text, found.utterances()[2].speaker) == ("hello there", "sam")


def test_cuts_that_cannot_be_read(cuts, tmp_path):
    path = tmp_path / "c.jsonl"
    good = json.dumps(cuts["z"].to_dict())
    command = cuts["z"].to_dict()
    command["recording"]["sources"][0] |= {"type": "command", "source": "cat x.wav"}
    for bad, message in [
        (cuts["b"].pad(duration=3).to_dict(), "MixedCut"),
        (cuts["b"].perturb_speed(1.1).to_dict(), "transforms"),
        ({k: v for k, v in cuts["b"].to_dict().items() if k != "recording"}, "no recording"),
        (command, "shell command: cat"),
        ({"hello": 1}, "no id"),
    ]:
        path.write_text(f"{good}\n{json.dumps(bad)}\n")
        with pytest.raises(AudiokdError, match=message) as e:
            open_input(path)
        assert f"{path}:2" in str(e.value)
    path.write_text(good + "\n{half a li")
    with pytest.raises(AudiokdError, match=r"c\.jsonl:2: not a line of JSON"):
        open_input(path)
    path.write_text(json.dumps(command))
    assert [u.codec for u in open_input(path, allow_pipes=True).utterances()] == ["pipe"]


def test_channel_of_a_stereo_cut(two_cities, tmp_path):
    import soundfile as sf
    from lhotse import CutSet, MonoCut, Recording

    x, rate = sf.read(two_cities, dtype="float32", frames=48000)
    sf.write(tmp_path / "s.wav", np.stack([x, -0.5 * x], axis=1), rate)
    stereo = Recording.from_file(tmp_path / "s.wav")
    cuts = CutSet.from_cuts([MonoCut(id="r", start=0, duration=1, channel=1, recording=stereo), stereo.to_cut()])
    cuts.to_file(tmp_path / "cuts.jsonl")
    right, both = open_input(tmp_path / "cuts.jsonl").utterances()
    assert (right.channel, both.channel) == (1, None)
    assert np.array_equal(load(right)[0], cuts["r"].load_audio()[0])


def test_shar_folder_keeps_its_shards(cuts, tmp_path):
    from lhotse.shar import SharWriter

    (tmp_path / "shar").mkdir()
    with SharWriter(tmp_path / "shar", fields={"recording": "flac"}, shard_size=2) as writer:
        for cut in cuts:
            writer.write(cut)
    found = open_input(tmp_path / "shar", shard_size=1)
    assert (found.kind, [(s.name, len(s)) for s in found.shards]) == ("shar", [("00000", 2), ("00001", 1)])
    with pytest.raises(AudiokdError, match="give the folder"):
        open_input(tmp_path / "shar" / "cuts.000000.jsonl.gz")


def test_what_is_no_input(beckett, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "wav.scp").write_text(f"u1 {beckett}\n")
    for path, message in [
        (tmp_path / "nope", "no such file or folder"),
        (tmp_path / "empty", "no audio in this folder"),
        (tmp_path / "readme.txt", "this kind of file"),
        (tmp_path / "wav.scp", f"give its folder: {tmp_path}"),
    ]:
        with pytest.raises(AudiokdError, match=message) as e:
            open_input(path)
        assert e.value.where == str(path)
    with pytest.raises(AudiokdError, match="shard_size is 0"):
        open_input(tmp_path, shard_size=0)


def test_shards_travel_to_other_processes(beckett, tmp_path):
    import pickle

    shutil.copy(beckett, tmp_path / "a.wav")
    shard = pickle.loads(pickle.dumps(open_input(tmp_path).shards[0]))
    assert shard.load() == [Utterance(id="a", path=os.path.join(tmp_path, "a.wav"), recording_id="a")]
