"""Stage 2 finds every kind of bad audio in a corpus, names it, leaves it out, and fails over max_error_rate."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiokd.data.inputs import open_input
from audiokd.errors import AudiokdError
from audiokd.stages.validate import validate


@pytest.fixture
def corpus(two_cities: Path, tmp_path: Path) -> Path:
    """Ten good files, and one of each kind of bad."""
    x, rate = sf.read(two_cities, dtype="float32", start=5 * 48000, frames=48000)
    wav = tmp_path / "wav"
    wav.mkdir()
    for i in range(10):
        sf.write(wav / f"good{i}.wav", x * (0.5 + 0.05 * i), rate)
    sf.write(wav / "bad_nan.wav", np.where(np.arange(len(x)) == 999, np.nan, x), rate, subtype="FLOAT")
    sf.write(wav / "bad_empty.wav", x[:0], rate)
    (wav / "bad_text.wav").write_text("hello\n" * 100)
    (wav / "bad_zero.wav").write_bytes(b"")
    (wav / "bad_short.wav").write_bytes((wav / "good0.wav").read_bytes()[:50_000])
    sf.write(wav / "odd_clipped.wav", np.clip(x * 30, -1, 1), rate)
    sf.write(wav / "odd_named.wav", x, rate, format="FLAC")
    sf.write(wav / "one_sample.wav", x[:1], rate)
    names = sorted(p.stem for p in wav.iterdir())
    scp = sorted([f"{n} {wav / n}.wav" for n in names] + [f"bad_missing {wav}/nope.wav"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text("\n".join(scp) + "\n")
    return tmp_path / "data"


BAD = ["bad_empty", "bad_missing", "bad_nan", "bad_short", "bad_text", "bad_zero"]


@pytest.mark.parametrize("nj", [1, 2])
def test_every_fault_is_found(corpus, capsys, nj):
    with pytest.raises(AudiokdError, match="6 of 19 utterances have bad audio") as e:
        validate(str(corpus), nj=nj)
    err = capsys.readouterr().err
    for line, (utt, what) in enumerate(
        zip(BAD, ["0 samples", "no such file", "NaN or Inf", "truncated", "not readable as audio", "0 bytes"]), 1
    ):
        assert any(f"wav.scp:{line}: {utt}: " in row and what in row for row in err.splitlines()), (utt, err)
    assert "odd_clipped: clipped" in err
    assert "odd_named: named .wav, but it is flac" in err
    rows = (corpus / "quarantine.txt").read_text().splitlines()
    assert [r.split()[0] for r in rows] == BAD
    report = json.loads((corpus / "validate.json").read_text())
    assert (report["ok"], report["utterances"], report["bad"]) == (False, 19, 6)
    assert {w["id"] for w in report["warnings"]} == {"odd_clipped", "odd_named"}, report["warnings"]
    assert "--max_error_rate 0.316" in str(e.value)

    report = validate(str(corpus), max_error_rate=0.316, nj=nj)  # what the message says to do works
    assert report["ok"]
    assert report["duration_s"] == pytest.approx(12, abs=0.001)
    assert len(open_input(corpus)) == 13


def test_mended_audio_leaves_the_list(corpus, tmp_path):
    validate(str(corpus), max_error_rate=0.5)
    scp = (corpus / "wav.scp").read_text().splitlines()
    (corpus / "wav.scp").write_text("\n".join(r for r in scp if not r.startswith("bad")) + "\n")
    report = validate(str(corpus))
    assert (report["bad"], report["utterances"]) == (0, 13)
    assert not (corpus / "quarantine.txt").exists()


def test_clip_threshold(corpus):
    scp = (corpus / "wav.scp").read_text().splitlines()
    (corpus / "wav.scp").write_text("\n".join(r for r in scp if r.startswith("odd_clipped")) + "\n")
    assert len(validate(str(corpus))["warnings"]) == 1
    assert validate(str(corpus), clip_threshold=0.99)["warnings"] == []


def test_structure_comes_first_and_fix_mends_it(corpus, capsys):
    scp = (corpus / "wav.scp").read_text().splitlines()
    (corpus / "wav.scp").write_text("\n".join([*reversed(scp), scp[0]]) + "\n")
    with pytest.raises(AudiokdError, match=f"audiokd validate {corpus} --fix true"):
        validate(str(corpus), max_error_rate=1.0)
    assert f"{corpus}/wav.scp:2: " in capsys.readouterr().err
    assert not (corpus / "quarantine.txt").exists()
    report = validate(str(corpus), max_error_rate=1.0, fix=True)
    assert report["utterances"] == 19
    assert (corpus / "wav.scp").read_text().splitlines() == scp
    assert len((corpus / ".backup" / "wav.scp").read_text().splitlines()) == 20
    assert "faults mended" in capsys.readouterr().err


def test_segments(corpus):
    wav = corpus.parent / "wav"
    (corpus / "wav.scp").write_text(f"r1 {wav}/good1.wav\n")
    (corpus / "segments").write_text("s1 r1 0 0.5\ns2 r1 0.5 9\ns3 r1 2 3\n")
    with pytest.raises(AudiokdError, match="2 of 3") as e:
        validate(str(corpus))
    assert f"{corpus}/segments:2: s2: the segment 0.5-9 s lies past the end" in str(e.value)


def test_pipes_are_refused_unless_allowed(corpus):
    (corpus / "wav.scp").write_text(f"p1 cat {corpus.parent}/wav/good1.wav |\np2 false |\n")
    with pytest.raises(AudiokdError, match="--allow_pipes true"):
        validate(str(corpus))
    report = validate(str(corpus), allow_pipes=True, max_error_rate=0.5)
    assert [b["id"] for b in report["audio"]] == ["p2"]
