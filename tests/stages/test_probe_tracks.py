"""From sound to a probe of whole recordings: beats behind speech, and a voice out of two, on log-mel frames."""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf
import torch

from audiokd.data.beats import write_beats
from audiokd.data.stems import write_stems
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval import separation_probe
from audiokd.eval.probe_sets import beat_sets
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.model import ATSTModel
from audiokd.stages.extract import extract
from audiokd.stages.probe import probe
from audiokd.tokens.store import open_store

RATE = 16_000
SPLITS = {"train": (0, 5), "dev": (5, 7), "test": (7, 9)}


@pytest.fixture(scope="module")
def corpus(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader with bursts of noise in time, at a tempo of each recording's own; and one reader over another, in stems."""
    root = tmp_path_factory.mktemp("corpus")
    a, b = (librosa.load(p, sr=RATE)[0] for p in (two_cities, beckett))
    for split, (first, last) in SPLITS.items():
        folder = root / split
        folder.mkdir()
        beats, mixtures, voices = {}, [], {}
        for i in range(first, last):
            rng = np.random.default_rng(i)
            beats[f"song{i}"] = 0.1 + np.arange(0, 9.5, 60 / rng.uniform(70, 160))
            wav = 0.3 * np.resize(np.roll(a, -RATE * i), 10 * RATE)
            for t in beats[f"song{i}"]:
                at = round(t * RATE)
                wav[at : at + 400] += rng.normal(0, 0.3, 400)
            sf.write(folder / f"song{i}.wav", wav, RATE)
            source, other = (w[i * RATE // 2 :][: 2 * RATE] for w in (a, b))
            sf.write(folder / f"mix {i}.flac", (source + other) / 2, RATE)
            sf.write(folder / f"voice {i}.flac", source / 2, RATE)
            mixtures.append(f"mix{i} {folder}/mix {i}.flac\n")
            voices[f"mix{i}"] = f"voice {i}.flac"  # from the data dir
        songs = folder / "songs"
        songs.mkdir()
        (songs / "wav.scp").write_text("".join(f"song{i} {folder}/song{i}.wav\n" for i in range(first, last)))
        write_beats(songs / "utt2beats", beats)
        (folder / "wav.scp").write_text("".join(mixtures))
        write_stems(folder, "voice", voices)
        extract("log_mel", str(songs), str(root / "beats" / split), layer="layers")
        extract("log_mel", str(folder), str(root / "mixes" / split), layer="layers")
    return root


def run(corpus: Path, of: str, out: Path, **options: object) -> dict:
    stores = {s: str(corpus / of / s) for s in SPLITS}
    return probe(**stores, out=str(out), head="mlp", **options)  # type: ignore[arg-type]


def test_beats(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [str(corpus / s / "songs") for s in SPLITS]
    found = run(corpus, "beats", tmp_path / "beats.json", task="beats", data=data, epochs=30)
    assert found["metric"] == "beat F1"
    assert found["rows"] == {"train": 5, "dev": 2, "test": 2}
    assert found["labels"] == []
    assert found["test"]["mean"] > 0.9
    assert json.loads((tmp_path / "beats.json").read_text()) == found
    assert "beats; 5, 2 and 2 utterances" in capsys.readouterr().out


def test_beats_on_the_better_of_two_layers(corpus: Path, tmp_path: Path) -> None:
    """Its features stay on disk, side by side; how many layers they are of is written with them."""
    torch.manual_seed(0)
    ATSTModel(ATSTConfig(kind="frame", dim=64, depth=2, heads=4)).save_pretrained(tmp_path / "model")
    stores = {s: str(tmp_path / s) for s in SPLITS}
    for split, store in stores.items():
        extract(str(tmp_path / "model"), str(corpus / split / "songs"), store, layer="layers")
    data = [str(corpus / s / "songs") for s in SPLITS]
    options = {"head": "mlp", "task": "beats", "data": data, "epochs": 3}
    found = probe(**stores, out=str(tmp_path / "beats.json"), **options)  # type: ignore[arg-type]
    assert len(found["dev"]) == 2
    assert found["chosen_layer"] == 1 + int(np.argmax(found["dev"]))
    sets = beat_sets({"test": open_store(stores["test"])}, data)
    assert all(isinstance(f, np.memmap) and f.shape == (250, 128) for f in sets["test"].frames)
    with pytest.raises(ConfigError, match="--layers 4, but layers has 2 of them"):
        probe(**stores, out=str(tmp_path / "x.json"), layers=4, **options)  # type: ignore[arg-type]


def test_separation(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HIDDEN": 32, "CROPS": 16, "CROP_S": 1.0}.items():
        monkeypatch.setattr(separation_probe, name, value)
    data = [str(corpus / s) for s in SPLITS]
    options = {"task": "separation", "data": data, "epochs": 3, "batch_size": 8}
    found = run(corpus, "mixes", tmp_path / "voice.json", source="voice", **options)
    assert found["metric"] == "SDR"
    assert found["settings"]["source"] == "voice"
    assert found["rows"] == {"train": 5, "dev": 2, "test": 2}
    assert found["test"]["mean"] > found["more"]["SDR of the mixture"] + 0.5
    assert "voice; 5, 2 and 2 utterances" in (tmp_path / "voice.md").read_text()
    with pytest.raises(AudiokdError, match=r"drums\.scp"):
        run(corpus, "mixes", tmp_path / "x.json", source="drums", **options)


def test_stems_that_do_not_fit(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    for name in ("wav.scp", "voice.scp"):
        (folder / name).write_text((corpus / "train" / name).read_text().replace("voice ", f"{corpus}/train/voice "))
    wav, _ = sf.read(corpus / "train" / "voice 3.flac")
    sf.write(folder / "short.flac", wav[:-160], RATE)
    lines = (folder / "voice.scp").read_text().splitlines()
    lines[3] = f"mix3 {folder}/short.flac"
    (folder / "voice.scp").write_text("\n".join(lines) + "\n")
    data = [str(folder), str(corpus / "dev"), str(corpus / "test")]
    options = {"task": "separation", "source": "voice", "data": data, "epochs": 1}
    with pytest.raises(AudiokdError, match=r"mix3: 32000 samples of the mixture, 31840 of the source"):
        run(corpus, "mixes", tmp_path / "x.json", **options)
    (folder / "voice.scp").write_text("mix99 x.wav\n")
    with pytest.raises(AudiokdError, match="mix99 is no mixture of wav"):
        run(corpus, "mixes", tmp_path / "x.json", **options)
    (folder / "voice.scp").write_text("mix3\n")
    with pytest.raises(AudiokdError, match="only an id on the line"):
        run(corpus, "mixes", tmp_path / "x.json", **options)
    (folder / "voice.scp").write_text("mix3 a\nmix3 b\n")
    with pytest.raises(AudiokdError, match="mix3 stands there before"):
        run(corpus, "mixes", tmp_path / "x.json", **options)


def test_what_is_not_asked(corpus: Path, tmp_path: Path) -> None:
    data = [str(corpus / s) for s in SPLITS]
    with pytest.raises(ConfigError, match="--task beats is an mlp's"):
        probe(str(corpus / "beats" / "train"), data, str(tmp_path / "x.json"), folds="x", task="beats")
    for options in ({"task": "separation"}, {"task": "beats", "source": "vocals"}):
        with pytest.raises(ConfigError, match="a source is separation's"):
            run(corpus, "beats", tmp_path / "x.json", data=data, **options)
    store = str(tmp_path / "clip")
    extract("log_mel", str(corpus / "dev" / "songs"), store, layer="clip")
    with pytest.raises(ConfigError, match="beats wants frames, these are clip"):
        probe(store, data, str(tmp_path / "x.json"), store, store, head="mlp", task="beats")
    with pytest.raises(AudiokdError, match="none of its 5 utterances is in data"):
        run(corpus, "mixes", tmp_path / "x.json", task="beats", data=[str(corpus / s / "songs") for s in SPLITS])
