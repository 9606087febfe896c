"""From sound to a probe's table: two voices, tags, and frames, on features of an encoder with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import pytest
import soundfile as sf
import torch

from audiokd.data.ctm import Phone, write_ctm
from audiokd.errors import AudiokdError, ConfigError
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.stages.extract import extract
from audiokd.stages.probe import probe

SPLITS = {"train": (0, 10), "dev": (10, 13), "test": (13, 16)}


@pytest.fixture(scope="module")
def corpus(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of 0.6 s of both readers in three splits, labelled by reader, with times of sound and silence."""
    root = tmp_path_factory.mktemp("corpus")
    for split, (first, last) in SPLITS.items():
        folder = root / split
        folder.mkdir()
        lines, phones = [], {}
        for path in (two_cities, beckett):
            for i in range(first, last):
                utt = f"{path.stem}-{i}"
                wav, rate = librosa.load(path, sr=16_000, offset=0.6 * i, duration=0.6)
                sf.write(folder / f"{utt}.wav", wav, int(rate))
                lines.append(f"{utt} {path.stem}\n")
                marks, end = [], 0.0
                for a, b in librosa.effects.split(wav, top_db=12) / 16_000:
                    marks += [Phone(end, a, "quiet")] if a > end else []
                    marks.append(Phone(float(a), float(b), "loud"))
                    end = float(b)
                phones[utt] = marks
        (folder / "utt2label").write_text("".join(lines))
        write_ctm(folder / "phones.ctm", phones)
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=64, depth=2, heads=4)).save_pretrained(root / "model")
    for split in SPLITS:
        for layer in ("clip", "frames"):
            extract(str(root / "model"), str(root / split), str(root / layer / split), layer=layer)
    return root


def run(corpus: Path, layer: str, out: Path, **options: object) -> dict:
    stores = {s: str(corpus / layer / s) for s in SPLITS}
    settings = {"data": [str(corpus / s) for s in SPLITS], "epochs": 40, **options}
    return probe(**stores, out=str(out), **settings)  # type: ignore[arg-type]


def test_two_voices(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(corpus, "clip", tmp_path / "voices.json", system="random encoder")
    assert found["labels"] == ["beckett", "two_cities"]
    assert found["rows"] == {"train": 20, "dev": 6, "test": 6}
    assert found["test"]["mean"] > 0.9
    assert found["chance"] == 0.5
    assert json.loads((tmp_path / "voices.json").read_text()) == found
    table = (tmp_path / "voices.md").read_text()
    assert capsys.readouterr().out == table
    assert "| random encoder | 6 | accuracy |" in table
    assert "20, 6 and 6 utterances" in table


def test_frames(corpus: Path, tmp_path: Path) -> None:
    found = run(corpus, "frames", tmp_path / "frames.json", task="frames")
    assert found["labels"] == ["loud", "quiet"]
    assert found["test"]["n"] == 6
    assert found["test"]["mean"] > found["chance"] + 0.05
    assert found["test"]["mean"] > 0.8


def test_tags(corpus: Path, tmp_path: Path) -> None:
    tags = tmp_path / "tags"
    lines = [line for s in SPLITS for line in (corpus / s / "utt2label").read_text().splitlines()]
    tags.write_text("".join(f"{line} speech\n" for line in lines))
    found = run(corpus, "clip", tmp_path / "tags.json", task="tags", data=[str(tags)])
    assert found["metric"] == "mAP"
    assert found["labels"] == ["beckett", "speech", "two_cities"]
    assert found["test"]["mean"] > 0.9
    with pytest.raises(AudiokdError, match="2 labels where one is due"):
        run(corpus, "clip", tmp_path / "x.json", data=[str(tags)])


def test_labels_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    dev = tmp_path / "dev"
    dev.write_text("two_cities-10 stranger\nbeckett-10 beckett\n")
    with pytest.raises(AudiokdError, match="no training utterance has: stranger"):
        run(corpus, "clip", tmp_path / "x.json", data=[str(corpus / "train"), str(dev), str(corpus / "test")])
    with pytest.raises(AudiokdError, match="none of its 6 utterances has a label"):
        run(corpus, "clip", tmp_path / "x.json", data=[str(corpus / "train"), str(corpus / "test")])
    twice = tmp_path / "twice"
    twice.write_text("a x\n\na y\n")
    with pytest.raises(AudiokdError, match=r"twice:3.*a stands there before"):
        run(corpus, "clip", tmp_path / "x.json", data=[str(twice)])


def test_unlabelled_utterances_are_left_out(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    few = tmp_path / "few"
    few.write_text("two_cities-10 two_cities\nbeckett-10 beckett\n")
    found = run(corpus, "clip", tmp_path / "x.json", data=[str(corpus / "train"), str(few), str(corpus / "test")])
    assert found["rows"]["dev"] == 2
    assert "4 of 6 utterances have no label" in caplog.text


def test_folds(corpus: Path, tmp_path: Path) -> None:
    """The training pieces in four folds by their number; every fold is tested once."""
    ids = [line.split()[0] for line in (corpus / "train" / "utt2label").read_text().splitlines()]
    folds = tmp_path / "utt2fold"
    folds.write_text("".join(f"{i} fold{int(i.split('-')[1]) % 4}\n" for i in ids))
    store, data = str(corpus / "clip" / "train"), [str(corpus / "train")]
    found = probe(store, data, str(tmp_path / "x.json"), folds=str(folds), epochs=40)
    assert len(found["folds"]) == 4
    assert found["test"]["n"] == 20 == sum(f["test"]["n"] for f in found["folds"])
    assert found["test"]["mean"] > 0.7
    assert "20 utterances in 4 folds" in (tmp_path / "x.md").read_text()
    folds.write_text("".join(f"{i} fold{int(i.split('-')[1]) % 2}\n" for i in ids))
    with pytest.raises(AudiokdError, match="2 folds"):
        probe(store, data, str(tmp_path / "x.json"), folds=str(folds))
    folds.write_text("two_cities-0 a\n")
    with pytest.raises(AudiokdError, match="an utterance without a fold"):
        probe(store, data, str(tmp_path / "x.json"), folds=str(folds))
    with pytest.raises(AudiokdError, match="dev and test stores, or folds"):
        probe(store, data, str(tmp_path / "x.json"))


def test_features_of_different_models_are_not_mixed(corpus: Path, tmp_path: Path) -> None:
    stores = {s: str(corpus / "clip" / s) for s in SPLITS} | {"test": str(corpus / "frames" / "test")}
    with pytest.raises(
        AudiokdError, match=r"different models or layers: train: clip of model .*; test: frames of model"
    ):
        probe(**stores, data=[str(corpus / s) for s in SPLITS], out=str(tmp_path / "x.json"))


def test_an_mlp_on_the_layer_that_is_best(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Classes, keys and numbers, of an embedding of two layers."""
    found = run(corpus, "clip", tmp_path / "voices.json", head="mlp", layers=2)
    assert found["test"]["mean"] > 0.8
    assert found["test"]["high"] <= 1.0
    assert found["chosen_layer"] in (1, 2)
    assert len(found["dev"]) == 2
    said = capsys.readouterr().out
    assert f"one hidden layer on layer {found['chosen_layer']} of 2, chosen on dev" in said
    keys, values = tmp_path / "keys", tmp_path / "values"
    of = {"two_cities": ("C major", "1.5 -3"), "beckett": ("A minor", "-1.5 30")}
    names = [u for s in SPLITS for u in (corpus / s / "utt2label").read_text().split("\n") if u]
    keys.write_text("".join(f"{u.split()[0]} {of[u.split()[1]][0].replace(' ', ':')}\n" for u in names))
    values.write_text("".join(f"{u.split()[0]} {of[u.split()[1]][1]}\n" for u in names))
    found = run(corpus, "clip", tmp_path / "keys.json", head="mlp", layers=2, task="key", data=[str(keys)])
    assert found["metric"] == "key score"
    assert found["test"]["mean"] > 0.8
    found = run(corpus, "clip", tmp_path / "values.json", head="mlp", layers=2, task="regression", data=[str(values)])
    assert found["metric"] == "R2"
    assert found["test"]["mean"] > 0.5
    assert set(found["more"]) == {"R2 value1", "R2 value2"}
    assert "2 variables" in capsys.readouterr().out


def test_what_an_mlp_is_not_asked(corpus: Path, tmp_path: Path) -> None:
    for options, what in (
        ({"task": "key"}, "--task key is an mlp's"),
        ({"layers": 2}, "--layers 2 is an mlp's"),
        ({"head": "mlp", "rates": [0.1, 0.2]}, "2 rates for an mlp"),
    ):
        with pytest.raises(ConfigError, match=what):
            run(corpus, "clip", tmp_path / "x.json", **options)
    with pytest.raises(ConfigError, match="not cross-validated"):
        probe(str(corpus / "clip/train"), [str(corpus / "train")], str(tmp_path / "x.json"), folds="f", head="mlp")
    with pytest.raises(AudiokdError, match=r"1 numbers are due, not (two_cities|beckett)"):
        run(corpus, "clip", tmp_path / "x.json", head="mlp", task="regression")
    with pytest.raises(AudiokdError, match=r"(two_cities|beckett)-\S+ in .*train.*: '\S+' is no key"):
        run(corpus, "clip", tmp_path / "x.json", head="mlp", task="key")
