"""Points on sound events: drawn inside, written and read back, refused where they are none, and sets of few events."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from audiokd.data.crops import rng_of
from audiokd.data.event_points import (
    EventPoint,
    check_pairs,
    check_points,
    main,
    point_of,
    read_points,
    within,
    write_points,
)
from audiokd.data.events import Event, mean_lengths, read_events, write_events
from audiokd.errors import AudioError, AudiokdError

DOG = Event(2.0, 5.0, "dog")


def test_points_lie_in_the_inner_third() -> None:
    times = np.array([point_of(DOG, rng_of(0, k)).time_s for k in range(500)])
    assert times.min() >= 3.0
    assert times.max() <= 4.0
    assert abs(times.mean() - 3.5) < 0.03
    assert 0.2 < times.std() < 0.3  # 0.3 of a normal distribution, cut: 0.25 of a width of 1
    assert point_of(DOG, rng_of(0, 1)) == point_of(DOG, rng_of(0, 1))


def test_points_come_back(tmp_path: Path) -> None:
    points = {"b.1": [EventPoint(3.25, "dog"), EventPoint(0.5, "cat")], "a": []}
    write_points(tmp_path / "points.tsv", points)
    assert read_points(tmp_path) == points
    (tmp_path / "points.tsv").write_text("filename\ttime\tevent_label\nb.1.wav\t3.25\tdog\n")
    assert read_points(tmp_path) == {"b.1": [EventPoint(3.25, "dog")]}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("a\t1.0", "2 columns, 3 expected"),
        ("a\tsoon\tdog", "'soon' is no time"),
        ("a\t-1\tdog", "no moment"),
        ("a\tnan\tdog", "no moment"),
        ("a\t1.0\t", "'' is no word"),
        ("a\t1.0\tbig dog", "is no word"),
        ("\t1.0\tdog", "without a file name"),
    ],
)
def test_rows_that_are_no_points(tmp_path: Path, row: str, what: str) -> None:
    (tmp_path / "points.tsv").write_text(f"filename\ttime\tevent_label\n{row}\n")
    with pytest.raises(AudiokdError, match=what) as e:
        read_points(tmp_path)
    assert str(e.value.where).endswith("points.tsv:2")


def test_points_belong_to_events(tmp_path: Path) -> None:
    check_pairs("a", [DOG], [EventPoint(2.0, "dog")], "data")
    for points, what in (
        ([], "0 points, 1 events"),
        ([EventPoint(3.0, "cat")], "point 0"),
        ([EventPoint(5.5, "dog")], "is not on event 0"),
    ):
        with pytest.raises(AudiokdError, match=what) as e:
            check_pairs("a", [DOG], points, "data")
        assert e.value.where == "data: a"
    with pytest.raises(AudioError, match=r"point 1 at 10\.5 s is outside of the clip, 10 s long"):
        check_points([10.0, 10.5], 10.0)
    found = within(np.array([[-1.0, 2.0], [9.0, 11.0], [12.0, 13.0]]), 10.0)
    assert np.allclose(found, [[0, 2], [9, 10], [9.99, 10]])


def test_a_set_of_few_events(two_cities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "few"
    data.mkdir()
    (data / "wav.scp").write_text(f"r {two_cities}\n")
    (data / "segments").write_text("".join(f"u{k} r {4 * k} {4 * k + 4}\n" for k in range(10)))
    events = {f"u{k}": [Event(0.5, 1.5, "a"), Event(2.0, 3.0, "b")] if k else [] for k in range(10)}
    write_events(data / "events.tsv", events)
    main([str(data), str(out), "--rate", "0.2"])
    assert "the first 2 with events" in capsys.readouterr().out
    assert read_events(out) == {"u0": [], "u1": events["u1"]}
    points = read_points(out)
    assert points.keys() == events.keys()
    for utt_id, of in points.items():
        check_pairs(utt_id, events[utt_id], of, "out")
    assert points["u1"] != points["u2"]
    assert (out / "segments").read_text().splitlines()[1].split()[:2] == ["u1", "r"]
    about = json.loads((out / "regime.json").read_text())
    assert about["steps"][0]["labelled"]["labels"] == {"a": 1, "b": 1}
    assert about["steps"][0]["pointed"]["count"] == 10
    assert mean_lengths(events.values()) == {"a": 1.0, "b": 1.0}
    for rate, what in (("0.05", "leaves none"), ("0", "a rate of 0"), ("1.5", "a rate of 1.5")):
        with pytest.raises(AudiokdError, match=what):
            main([str(data), str(out), "--rate", rate])
    (data / "events.tsv").write_text("filename\tonset\toffset\tevent_label\nu0\t1\t1\ta\n")
    with pytest.raises(AudiokdError, match="no stretch of time"):  # an event without extent
        main([str(data), str(out), "--rate", "0.2"])
