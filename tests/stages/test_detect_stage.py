"""From frame logits in a store to tables and events: a detector of loudness on real speech, and what is wrong with a store."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import pytest

from audiokd.cli import main
from audiokd.data.events import Event, read_events, write_events
from audiokd.errors import AudiokdError, ConfigError
from audiokd.stages.detect import detect
from audiokd.tokens.store import StoreItem, StoreWriter

RATE, HZ, PIECE_S, PIECES = 25.0, 16_000, 4.0, 8
LABELS = ["silence", "speech"]
META = {"sample_rate": HZ, "frame_rate": RATE, "layer": "events", "model_sha256": "f" * 64, "labels": LABELS}


def write_store(path: Path, logits: dict[str, np.ndarray], **meta: object) -> str:
    writer = StoreWriter(path, "features", {k: v for k, v in (META | meta).items() if v is not None})
    items = [StoreItem(i, x.astype(np.float32), int(PIECE_S * HZ), HZ) for i, x in logits.items()]
    writer.write_shard("00000", items)
    writer.finish(["00000"])
    return str(path)


@pytest.fixture(scope="module")
def heard(two_cities: Path) -> tuple[dict[str, np.ndarray], dict[str, list[Event]]]:
    """Logits of a detector of loudness on pieces of a reading, and librosa's split into speech and silence as the truth."""
    logits, truth = {}, {}
    for k in range(PIECES):
        wav, _ = librosa.load(two_cities, sr=HZ, offset=PIECE_S * k, duration=PIECE_S)
        level = librosa.feature.rms(y=wav, frame_length=2048, hop_length=int(HZ / RATE))[0, :100]
        speech = (librosa.amplitude_to_db(level, ref=np.max) + 32) / 4  # 2 dB off the split, and other frames
        logits[f"p{k}"] = np.stack([-speech, speech], 1)
        events, end = [], 0.0
        for a, b in librosa.effects.split(wav, top_db=30) / HZ:
            events += [Event(end, float(a), "silence")] if a > end else []
            events.append(Event(float(a), float(b), "speech"))
            end = float(b)
        truth[f"p{k}"] = events
    return logits, truth


@pytest.fixture(scope="module")
def corpus(
    heard: tuple[dict[str, np.ndarray], dict[str, list[Event]]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Stores dev and test with their truth; in `quiet`, of test, nothing happens and nothing is heard."""
    root = tmp_path_factory.mktemp("corpus")
    logits, truth = heard
    for split, ids in (("dev", range(3)), ("test", range(3, PIECES))):
        names = [f"p{k}" for k in ids]
        quiet = {"quiet": np.full((100, 2), -9.0)} if split == "test" else {}
        write_store(root / split, {i: logits[i] for i in names} | quiet)
        (root / "data" / split).mkdir(parents=True)
        write_events(root / "data" / split / "events.tsv", {i: truth[i] for i in names} | {i: [] for i in quiet})
    return root


def run(corpus: Path, out: Path, store: str | None = None, data: Sequence[Path] = (), **options: object) -> dict:
    paths = [str(p) for p in data or [corpus / "data" / "test"]]
    return detect(store or str(corpus / "test"), paths, str(out), **options)  # type: ignore[arg-type]


def test_loudness_finds_speech(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(corpus, tmp_path / "x.json", system="loudness")
    assert json.loads((tmp_path / "x.json").read_text()) == found
    assert (found["system"], found["utterances"], found["model_sha256"]) == ("loudness", 6, "f" * 64)
    assert found["summary"]["intersection_f1"]["mean"] > 0.6
    assert found["summary"]["psds2"]["mean"] > 0.5
    assert found["thresholds"] == {"silence": 0.5, "speech": 0.5}
    truth = read_events(corpus / "data" / "test")
    spoken = sum(e.label == "speech" for events in truth.values() for e in events)
    assert found["classes"]["speech"]["events"] == spoken > 5
    table = (tmp_path / "x.md").read_text()
    assert capsys.readouterr().out == table
    assert "| loudness | 6 | " in table
    assert f"| speech | {spoken} | " in table
    assert "alpha_st 1; F1 is the mean over labels, threshold 0.5" in table


def test_settings_change_the_score(corpus: Path, tmp_path: Path) -> None:
    found = {
        name: run(corpus, tmp_path / "x.json", **options)["summary"]
        for name, options in {
            "default": {},
            "no spread": {"alpha_st": 0.0},
            "no filter": {"median_s": 0.0},
            "by label": {"median_s": {"silence": 0.28, "speech": 0.28}},
        }.items()
    }
    assert found["no spread"]["psds1"]["mean"] > found["default"]["psds1"]["mean"]
    assert found["no filter"]["intersection_f1"]["mean"] > found["default"]["intersection_f1"]["mean"]  # short pauses
    assert found["by label"] == found["default"]


def test_thresholds_from_dev(corpus: Path, tmp_path: Path) -> None:
    dev = {"dev": str(corpus / "dev"), "dev_data": [str(corpus / "data" / "dev")]}
    chosen = run(corpus, tmp_path / "x.json", **dev)
    assert chosen["thresholds"].keys() == set(LABELS)
    assert all(0 < t < 1 and t != 0.5 for t in chosen["thresholds"].values())
    assert chosen["summary"]["psds1"] == run(corpus, tmp_path / "y.json")["summary"]["psds1"]
    assert "threshold chosen for each label on dev" in (tmp_path / "x.md").read_text()
    leaky = write_store(tmp_path / "leaky", {f"p{k}": np.zeros((100, 2)) for k in range(3, 8)})
    other = write_store(tmp_path / "other", {"a": np.zeros((100, 2))}, model_sha256="e" * 64)
    with pytest.raises(AudiokdError, match="5 utterances are in dev and among those to score, such as p3"):
        run(corpus, tmp_path / "x.json", dev=leaky, dev_data=dev["dev_data"])
    with pytest.raises(AudiokdError, match="not of the model that made"):
        run(corpus, tmp_path / "x.json", dev=other, dev_data=dev["dev_data"])
    with pytest.raises(ConfigError, match="on a store and its truth"):
        run(corpus, tmp_path / "x.json", dev=dev["dev"])


def test_detected_events_are_written(corpus: Path, tmp_path: Path) -> None:
    """What is written, taken as the truth, is found without a miss by the same threshold."""
    events = tmp_path / "found" / "events.tsv"
    run(corpus, tmp_path / "x.json", events=str(events))
    found = read_events(events)
    assert found.keys() == {"p3", "p4", "p5", "p6", "p7", "quiet"}
    assert found["quiet"] == []
    assert {e.label for events in found.values() for e in events} == set(LABELS)
    again = run(corpus, tmp_path / "y.json", data=[events.parent])
    assert again["summary"]["event_f1"]["mean"] == again["summary"]["intersection_f1"]["mean"] == 1


def test_a_false_alarm_where_nothing_happens(corpus: Path, tmp_path: Path, heard: tuple[dict, dict]) -> None:
    logits = {f"p{k}": heard[0][f"p{k}"] for k in range(3, PIECES)} | {"quiet": np.full((100, 2), 3.0)}
    loud = write_store(tmp_path / "loud", logits)
    before, after = run(corpus, tmp_path / "x.json"), run(corpus, tmp_path / "y.json", store=loud)
    for name in ("event_f1", "intersection_f1"):
        assert after["summary"][name]["mean"] < before["summary"][name]["mean"]


def test_utterances_without_truth(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Left out and counted, and so is a true one that was never extracted; detected in they are all the same."""
    truth = read_events(corpus / "data" / "test")
    few = tmp_path / "few.tsv"
    write_events(few, {"p3": truth["p3"], "p4": [Event(4.5, 5, "speech")], "gone": []})
    with caplog.at_level(logging.WARNING):
        found = run(corpus, tmp_path / "x.json", data=[few], events=str(tmp_path / "all.tsv"))
    counts = (found["utterances"], found["utterances_without_truth"], found["truth_without_scores"])
    assert counts == (2, 4, 1)
    assert "4 utterances are not in the truth" in caplog.text
    assert "1 utterances of the truth are not in the store" in caplog.text
    assert "1 utterances have an event that begins after their end" in caplog.text
    assert len(read_events(tmp_path / "all.tsv")) == 6
    write_events(few, {"gone": [Event(0, 1, "speech")]})
    with pytest.raises(AudiokdError, match="none of its 6 utterances is in the truth"):
        run(corpus, tmp_path / "x.json", data=[few])


def test_a_label_without_true_events(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    truth = read_events(corpus / "data" / "test")
    spoken = tmp_path / "spoken.tsv"
    write_events(spoken, {i: [e for e in events if e.label == "speech"] for i, events in truth.items()})
    found = run(corpus, tmp_path / "x.json", data=[spoken])
    assert found["labels_without_events"] == ["silence"]
    assert "not scored: silence" in caplog.text
    assert "left out: silence." in (tmp_path / "x.md").read_text()


def test_truth_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.tsv"
    write_events(strange, {"p3": [Event(0, 1, "Dog"), Event(0, 1, "speech")]})
    with pytest.raises(AudiokdError, match=r"strange\.tsv: events of labels that the model does not know: Dog"):
        run(corpus, tmp_path / "x.json", data=[strange])
    with pytest.raises(AudiokdError, match=r"p3 is in an events\.tsv before this one"):
        run(corpus, tmp_path / "x.json", data=[corpus / "data" / "test"] * 2)
    write_events(strange, {"p3": []})
    with pytest.raises(AudiokdError, match="no true event in 1 utterances"):
        run(corpus, tmp_path / "x.json", data=[strange])


def test_stores_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    good = np.zeros((100, 2))
    codes = StoreWriter(tmp_path / "codes", "codes", {"cardinality": [4], "frame_rate": RATE})
    codes.finish([])
    damaged = write_store(tmp_path / "c", {"p3": good, "p4": good})
    np.load(Path(damaged) / "00000" / "features.npy", mmap_mode="r+")[150] = np.nan
    for name, store, said in (
        ("codes", str(tmp_path / "codes"), "a store of codes"),
        (
            "frames",
            write_store(tmp_path / "a", {"p3": good}, labels=None, layer="frames"),
            r"\(frames\) have no labels",
        ),
        ("width", write_store(tmp_path / "b", {"p3": good[:, :1]}), "1 columns for 2 labels"),
        ("NaN", damaged, "p4: NaN among its scores"),
        ("clips", write_store(tmp_path / "d", {"p3": good[:1]}), "p3: 1 frames for 4 s, 100 expected"),
    ):
        with pytest.raises(AudiokdError, match=said):
            run(corpus, tmp_path / f"{name}.json", store=store)
        assert not (tmp_path / f"{name}.json").exists()


def test_settings_that_cannot_be(corpus: Path, tmp_path: Path) -> None:
    for options, said in (
        ({"median_s": {"speech": 0.28}}, "not so: silence"),
        ({"median_s": -1.0}, "is no width"),
        ({"threshold": 1.0}, "no probability that can be passed"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(corpus, tmp_path / "x.json", **options)
    with pytest.raises(ConfigError, match="out is the JSON file"):
        run(corpus, tmp_path / "x.md")


def test_command_and_report_page(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is typed, into a run's folder, whose page shows it."""
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "config.yaml").write_text(
        "method: atst\nmodel: {kind: frame, depth: 2, dim: 8}\nrun: {max_steps: 1, seed: 0}\n"
    )
    argv = [
        str(corpus / "test"),
        "--data",
        f"[{corpus / 'data' / 'test'}]",
        "--median_s",
        '{"silence": 0, "speech": 0.28}',
    ]
    main(["detect", *argv, "--out", str(exp / "detected" / "test.json"), "--alpha_st", "0", "--psds2", "false"])
    found = json.loads((exp / "detected" / "test.json").read_text())
    assert found["settings"]["median_s"] == {"silence": 0, "speech": 0.28}
    assert found["summary"].keys() == {"psds1", "event_f1", "intersection_f1"}
    capsys.readouterr()
    main(["report", str(exp)])
    assert "PSDS1 ↑" in capsys.readouterr().out
    page = (exp / "report.html").read_text()
    assert "Sound events" in page
    assert f"{found['summary']['psds1']['mean']:.3f}" in page
