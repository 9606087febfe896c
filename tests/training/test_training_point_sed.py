"""Points on sounds to intervals: what a teacher learns of few clips, the labels that it makes of others, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from method_settings import settings_of
from soundscapes import RATE, read
from transformers import AutoModel
from whole_runs import assert_same_run, finish, kill_at, rows

import audiokd
from audiokd.data.audio import write_wav
from audiokd.data.crops import rng_of
from audiokd.data.event_points import EventPoint, check_pairs, point_of, read_points, write_points
from audiokd.data.events import Event, read_events, write_events
from audiokd.data.kaldi import read_data_dir, write_data_dir
from audiokd.errors import AudioError, AudiokdError, ConfigError
from audiokd.eval.intervals import score_intervals
from audiokd.methods.point_sed.data import PointDataset, collate_points
from audiokd.methods.point_sed.run import PointSedRun
from audiokd.methods.point_sed.views import mixed, stretched
from audiokd.stages.corpus import model_hashes
from audiokd.stages.export import export
from audiokd.stages.intervals import intervals

STEPS = 150
SECONDS = 4.0


def soundscapes(folder: Path, readers: dict[str, np.ndarray], count: int, known: int) -> None:
    """Stretches of two readers, 0.2 to 1.6 s long, in faint noise; a point on each; the first `known` clips have events."""
    rng = np.random.default_rng(len(folder.name))
    folder.mkdir(parents=True)
    lines, events = [], {}
    for n in range(count):
        utt_id = f"{folder.name}-{n:02d}"
        wav = (1e-3 * rng.standard_normal(int(SECONDS * RATE))).astype(np.float32)
        events[utt_id] = []
        for k, (name, voice) in enumerate(readers.items()):
            size = round(float(np.exp(rng.uniform(np.log(0.2), np.log(1.6)))) * RATE)
            first = int(2 * k * RATE + rng.integers(0, 2 * RATE - size))
            at = int(rng.integers(0, len(voice) - size))
            stretch = voice[at : at + size]
            wav[first : first + size] += 0.1 * stretch / np.sqrt(np.mean(stretch**2))
            events[utt_id].append(Event(first / RATE, (first + size) / RATE, name))
        write_wav(folder / f"{utt_id}.wav", wav, RATE)
        lines.append(f"{utt_id} {folder / utt_id}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    ids = sorted(events)
    write_events(folder / "events.tsv", {i: events[i] for i in ids[:known]})
    write_events(folder / "truth.tsv", events)
    drawn = {i: [point_of(e, rng_of(0, i, k)) for k, e in enumerate(events[i])] for i in ids}
    write_points(folder / "points.tsv", drawn)


@pytest.fixture(scope="module")
def corpus(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    readers = {"beckett": read(beckett), "two_cities": read(two_cities)}
    soundscapes(root / "train", readers, 24, 12)
    soundscapes(root / "dev", readers, 8, 8)
    return root


def command(corpus: Path, *more: str) -> list[str]:
    options = f"--config point_sed/debug --train {corpus}/train --dev {corpus}/dev --run.accelerator cpu"
    return [str(Path(sys.executable).with_name("audiokd")), "fit", "point_sed", *options.split(), *more]


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    options = f"--run.max_steps {STEPS} --run.val_every 50 --run.ckpt_every 50 --data.crop_s 4 --model.roi_side 7"
    said = finish(command(corpus, *options.split()), root / "exp")
    assert "ms a step" in said
    export(str(root / "exp"), str(root / "model"))
    return root


def test_it_learns_how_long_sounds_are(run: Path) -> None:
    found = {k: float(v) for k, v in rows(run / "exp").items()}
    losses = [found[s, "train", "loss"] for s in range(1, STEPS + 1)]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:10])
    assert found[0, "val", "iou"] == pytest.approx(found[0, "val", "iou_fixed"])
    best = max(found[s, "val", "iou"] for s in range(0, STEPS + 1, 50))
    assert best > found[0, "val", "iou_fixed"] + 0.08, best
    assert {k for _, split, k in found if split == "val"} >= {"centre_s", "onset_s", "offset_s", "centre", "length"}


def test_it_labels_what_has_points_alone(run: Path, corpus: Path, tmp_path: Path) -> None:
    out, scores = tmp_path / "pseudo", tmp_path / "scores.json"
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "events.tsv").write_text((corpus / "train" / "truth.tsv").read_text())
    model = audiokd.load_model(run / "model")
    assert type(AutoModel.from_pretrained(run / "model")) is type(model)
    result = intervals(str(run / "model"), str(corpus / "train"), str(out), truth=str(truth), out=str(scores))
    assert (result["utterances"], result["intervals"], result["errors"]) == (24, 24, 0)
    true, made, given = read_events(truth), read_events(out), read_events(corpus / "train")
    assert all(made[i] == given[i] for i in given)
    assert read_points(out) == read_points(corpus / "train")
    assert [u.id for u in read_data_dir(out)] == sorted(true)
    about = json.loads((out / "intervals.json").read_text())
    assert about["model_sha256"] == model_hashes(model)["model_sha256"]
    regime = json.loads((out / "regime.json").read_text())
    assert (regime["steps"][0]["labelled"]["count"], regime["steps"][0]["unlabelled"]["count"]) == (12, 12)
    assert regime["before"]["teacher"]["steps"][0]["name"] == "teacher"
    fixed = intervals(
        "fixed", str(corpus / "train"), str(tmp_path / "fixed"), truth=str(truth), out=f"{tmp_path}/f.json"
    )
    taught = json.loads(scores.read_text())
    assert taught["events"] == 24
    assert taught["scores"]["iou"]["mean"] > fixed["scores"]["iou"]["mean"] + 0.05
    assert "| beckett | 12 |" in scores.with_suffix(".md").read_text()
    alone = {
        i: made[i] for i in made if i not in given
    }  # one clip holds one event of a label: in time they are in order
    assert score_intervals(true, alone)["scores"]["iou"]["mean"] == pytest.approx(
        taught["scores"]["iou"]["mean"], abs=1e-3
    )
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    intervals(str(run / "model"), str(corpus / "train"), str(out))
    assert before == {p.name: p.read_bytes() for p in out.iterdir()}


def test_resume_is_exact(corpus: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--run.max_steps", "40", "--run.val_every", "20", "--run.ckpt_every", "5"]
    finish(command(corpus, *more), whole)
    assert 12 <= kill_at(12, command(corpus, *more), killed) < 40
    finish(command(corpus, *more), killed)
    assert_same_run(whole, killed)


def batch_of(corpus: Path, points: bool = False) -> tuple[PointDataset, dict]:
    utterances = read_data_dir(corpus / "train")[:4]
    events = read_events(corpus / "train")
    given = read_points(corpus / "train") if points else None
    data = PointDataset(utterances, ["beckett", "two_cities"], events, given, 3.0, 0)
    return data, collate_points([data[3, k] for k in range(4)])


def test_events_move_with_their_crop(corpus: Path) -> None:
    """Within an interval it is loud, and points lie within; a cut event is left out; points are drawn anew at each step."""
    data, batch = batch_of(corpus)
    assert 3 <= len(batch["points"]) < 8
    for (start, end), point, item in zip(
        batch["intervals"].tolist(), batch["points"].tolist(), batch["whose"].tolist()
    ):
        assert 0 <= start < point < end <= 3
        wav = batch["wav"][item]
        inside = wav[round(start * RATE) : round(end * RATE)]
        assert inside.square().mean().sqrt() == pytest.approx(0.1, rel=0.05)
    again = collate_points([data[4, k] for k in range(4)])
    assert not set(batch["points"].tolist()) & set(again["points"].tolist())
    given, here = batch_of(corpus, points=True)
    assert given[3, 0]["events"] == given[3, 0]["events"]
    assert torch.equal(here["intervals"], batch["intervals"])


def test_an_event_over_the_end_is_cut_before_its_point_is_set(corpus: Path) -> None:
    """What is left of it is learnt from, and the point lies on that; one that begins past the end is an error of its clip."""
    u = read_data_dir(corpus / "train")[0]
    for start in (3.9, 3.98, 3.995):
        over = {u.id: [Event(start, SECONDS + 0.1, "beckett")]}
        data = PointDataset([u], ["beckett"], over, None, SECONDS, 0)
        for step in range(20):
            ((first, last, point, _),) = data[step, 0]["events"]
            assert (first, last) == (start, SECONDS)
            assert first < point < last
    given = {u.id: [EventPoint(4.05, "beckett")]}
    data = PointDataset([u], ["beckett"], over, given, SECONDS, 0)
    assert data[0, 0]["events"] == [(3.995, SECONDS, SECONDS, 0)]
    beyond = {u.id: [Event(SECONDS + 0.01, SECONDS + 0.05, "beckett")]}
    with pytest.raises(AudioError, match=r"from 4\.01 to 4\.05 s in an utterance of 4\.00 s"):
        PointDataset([u], ["beckett"], beyond, None, SECONDS, 0).read(u, 0)


def test_points_stay_beside_their_intervals(corpus: Path, tmp_path: Path) -> None:
    """Of two points the later one's interval begins earlier; row i of points is on event i all the same."""
    data = tmp_path / "data"
    data.mkdir()
    ids = [u.id for u in read_data_dir(corpus / "train")[:2]]
    (data / "wav.scp").write_text("".join(f"{i} {corpus}/train/{i}.wav\n" for i in ids))
    write_events(data / "events.tsv", {ids[0]: [Event(0.0, 3.0, "long"), Event(3.1, 3.2, "short")]})
    points = {ids[0]: [EventPoint(1.5, "long"), EventPoint(3.15, "short")]}
    points[ids[1]] = [EventPoint(1.5, "short"), EventPoint(2.0, "long")]
    write_points(data / "points.tsv", points)
    intervals("fixed", str(data), str(tmp_path / "out"))
    made, placed = read_events(tmp_path / "out"), read_points(tmp_path / "out")
    assert [e.label for e in made[ids[1]]] == ["long", "short"]
    for i in ids:
        check_pairs(i, made[i], placed[i], "out")
    write_points(data / "points.tsv", points | {"nobody": [EventPoint(1.0, "long")]})
    with pytest.raises(AudiokdError, match="points of 1 utterances that are not there, nobody first") as e:
        intervals("fixed", str(data), str(tmp_path / "out"))
    assert str(e.value.where).endswith("points.tsv")


def test_clips_without_points_are_said_to_be_left_out(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("wav.scp", "events.tsv"):
        (data / name).write_text((corpus / "train" / name).read_text())
    points = read_points(corpus / "train")
    write_points(data / "points.tsv", {i: points[i] for i in sorted(points)[:20]})
    assert intervals("fixed", str(data), str(tmp_path / "out"))["utterances"] == 20
    assert "4 utterances have no row in points.tsv" in capsys.readouterr().out


def test_views_take_events_along(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, batch = batch_of(corpus)
    batch["lengths"] = batch["lengths"] - torch.tensor([0, 3000, 1000, 2000])  # a mixture is as long as the longer
    torch.manual_seed(0)
    with monkeypatch.context() as m:  # the batch lies on the device, lengths too: nothing of it may meet a CPU's tensor
        m.setattr(torch.Tensor, "cpu", lambda _: pytest.fail("a CPU's copy beside what is on the device"))
        both = mixed(batch, 1.0)
    assert both["lengths"].tolist() == torch.maximum(batch["lengths"], batch["lengths"].roll(-1)).tolist()
    torch.testing.assert_close(both["wav"], batch["wav"] + batch["wav"].roll(-1, 0))
    assert both["whose"].tolist() == sorted([*batch["whose"].tolist(), *((batch["whose"] - 1) % 4).tolist()])
    for k in range(4):
        own = [i for w in (k, (k + 1) % 4) for i in batch["points"][batch["whose"] == w].tolist()]
        assert sorted(own) == sorted(both["points"][both["whose"] == k].tolist())
    assert mixed(batch, 0.0) is batch
    ramp = torch.arange(101.0).expand(4, 2, 101).clone()  # a frame says when it was
    frames = torch.tensor([101, 101, 51, 101])
    mel, sizes, moved = stretched(ramp, frames, batch, 0.5)
    assert len(set(sizes.tolist())) > 2
    for point, before, item in zip(moved["points"], batch["points"], batch["whose"]):
        if float(before) < 0.5:
            at = float(point) * 100
            said = torch.lerp(mel[item, 0, int(at)], mel[item, 0, int(at) + 1], at % 1)
            assert float(said) == pytest.approx(float(before) * 100, abs=0.01)
    ratio = moved["intervals"].diff(dim=1) / batch["intervals"].diff(dim=1)
    torch.testing.assert_close(ratio[:, 0], moved["points"] / batch["points"])
    assert stretched(ramp, frames, batch, 0.0)[2] is batch


def test_what_is_refused(run: Path, corpus: Path, tmp_path: Path) -> None:
    s = settings_of("point_sed", "debug")
    train, dev = str(corpus / "train"), str(corpus / "dev")
    with pytest.raises(AudiokdError, match="one folder"):
        PointSedRun(s, train, train)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("wav.scp", "events.tsv", "points.tsv"):
        (other / name).write_text((corpus / "dev" / name).read_text())
    points, events = read_points(other), read_events(other)
    write_points(other / "points.tsv", {i: of[:1] for i, of in points.items()})
    with pytest.raises(AudiokdError, match="1 points, 2 events") as e:
        PointSedRun(s, train, str(other))
    assert "dev-00" in str(e.value.where)
    write_points(other / "points.tsv", points)
    write_events(other / "events.tsv", {i: [e._replace(label="dog") for e in of] for i, of in events.items()})
    with pytest.raises(AudiokdError):
        PointSedRun(s, train, str(other))
    (other / "events.tsv").write_text("filename\tonset\toffset\tevent_label\ndev-00\t1.5\t1.5\tbeckett\n")
    with pytest.raises(AudiokdError, match="no stretch of time"):
        PointSedRun(s, train, str(other))
    tested = settings_of("point_sed", "debug", {"data.test": [dev]})
    (tmp_path / "exp").mkdir()
    with pytest.raises(AudiokdError, match="selection"):
        PointSedRun(tested, train, dev).build(tmp_path / "exp")

    model, out = str(run / "model"), str(tmp_path / "out")
    (other / "events.tsv").unlink()
    write_points(other / "points.tsv", points | {"dev-00": [EventPoint(1.0, "dog")]})
    with pytest.raises(AudiokdError, match="classes without a known length: dog"):
        intervals(model, str(other), out)
    write_points(other / "points.tsv", points | {"dev-00": [EventPoint(9.0, "beckett")]})
    with pytest.raises(AudiokdError, match="1 of 8 clips failed"):
        intervals(model, str(other), out)
    assert not (tmp_path / "out" / "wav.scp").exists()
    assert json.loads((tmp_path / "out" / "errors.jsonl").read_text())["id"] == "dev-00"
    result = intervals(model, str(other), out, max_error_rate=0.2)
    assert (result["utterances"], result["errors"]) == (7, 1)
    assert "dev-00" not in read_events(out)
    with pytest.raises(ConfigError, match="a truth and a file"):
        intervals(model, str(other), out, truth=dev)
    with pytest.raises(ConfigError, match="another folder"):
        intervals(model, str(other), str(other))
    with pytest.raises(AudiokdError, match="without a known length"):  # of no events there is no mean
        intervals("fixed", str(other), out)


def test_the_set_that_is_tested(corpus: Path, tmp_path: Path) -> None:
    """Half of dev selects, half is tested: none of these is seen; commands in its wav.scp run where they may."""
    of = read_data_dir(corpus / "dev")
    dev, test = tmp_path / "dev", tmp_path / "test"
    for folder, utts in ((dev, of[::2]), (test, of[1::2])):
        write_data_dir(folder, utts)
        for name in ("events.tsv", "points.tsv"):
            shutil.copy(corpus / "dev" / name, folder)
    s, train = settings_of("point_sed", "debug", {"data.test": [str(test)]}), str(corpus / "train")
    lines = [line.split(maxsplit=1) for line in (test / "wav.scp").read_text().splitlines()]
    (test / "wav.scp").write_text("".join(f"{i} cat {path} |\n" for i, path in lines))
    with pytest.raises(AudiokdError, match="pipe"):
        PointSedRun(s, train, str(dev))
    PointSedRun(s, train, str(dev), allow_pipes=True).build(tmp_path)
    about = json.loads((tmp_path / "regime.json").read_text())
    assert about["test"]["count"] == len(of[1::2])
    assert about["steps"][0]["selection"]["count"] == len(of[::2])


def test_a_bad_clip_stops_no_run(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("wav.scp", "events.tsv", "points.tsv"):
        (data / name).write_text((corpus / "train" / name).read_text())
    rows_of = (data / "events.tsv").read_text().splitlines()
    late = [r if not r.startswith("train-01") else "train-01\t3.0\t5.5\tbeckett" for r in rows_of]
    (data / "events.tsv").write_text("".join(f"{r}\n" for r in late))
    text = (data / "wav.scp").read_text().splitlines()
    (data / "wav.scp").write_text(
        "".join(f"{t}\n" if "train-02" not in t else f"train-02 {data}/gone.wav\n" for t in text)
    )
    finish(command(corpus, "--train", str(data)), tmp_path / "exp")
    bad = [json.loads(r) for r in (tmp_path / "exp" / "errors.jsonl").read_text().splitlines()]
    assert {(r["id"], r["set"]) for r in bad} == {("train-01", "train"), ("train-02", "train")}
