"""Scores of sound event detection: cases worked out by hand, and other libraries' answers on random ones."""

from __future__ import annotations

import numpy as np
import pytest

from audiokd.data.events import Event
from audiokd.errors import AudiokdError
from audiokd.eval.event_changes import changes, matched, redrawn_psds, tables_of, truth_of
from audiokd.eval.event_clips import EventClip, detected, event_clip, median_filtered, median_frames, merged
from audiokd.eval.sound_events import EventScores, best_thresholds, score_events

RATE = 25.0


def clip(
    id: str, events: list[Event], found: list[tuple[Event, float]], labels: str, s: float = 10, rate: float = RATE
):
    """A clip whose scores are 0, and as given where a detector heard something."""
    scores = np.zeros((round(s * rate), len(labels)))
    for e, score in found:
        scores[round(e.start_s * rate) : round(e.end_s * rate), labels.index(e.label)] = score
    return event_clip(id, scores, rate, s, events)


def scored(clips: list[EventClip], labels: str, threshold: float = 0.5, **options: float) -> EventScores:
    return score_events(clips, list(labels), dict.fromkeys(labels, threshold), draws=20, **options)  # type: ignore[arg-type]


def means(clips: list[EventClip], labels: str, **options: float) -> dict[str, float | None]:
    return {name: s.mean for name, s in scored(clips, labels, **options).summary.items()}


def test_perfect_scores_are_one() -> None:
    """Two classes at once, and a clip in which nothing happens."""
    events = [Event(1, 4, "a"), Event(2, 9, "b"), Event(6, 6.4, "a")]
    clips = [clip("x", events, [(e, 0.9) for e in events], "ab"), clip("quiet", [], [], "ab")]
    found = scored(clips, "ab")
    for s in found.summary.values():
        assert (s.mean, s.low, s.high, s.n) == (1, 1, 1, 2)
    everything = dict.fromkeys(found.summary, 1.0)
    assert found.classes == {"a": {"events": 2} | everything, "b": {"events": 1} | everything}


def test_psds_of_one_false_positive_an_hour() -> None:
    """An hour; half is found before the false one, all after: (0.5 * 1 + 1 * 99) / 100."""
    events = [Event(100, 200, "a"), Event(300, 400, "a")]
    heard = [(events[0], 0.9), (Event(1000, 1100, "a"), 0.8), (events[1], 0.7)]
    found = means([clip("x", events, heard, "a", 3600, 1)], "a")
    assert found["psds1"] == pytest.approx(0.995)
    assert found["psds2"] == pytest.approx(0.995)  # one class has no other to be taken for
    assert found["event_f1"] == pytest.approx(2 * 2 / (2 + 1 + 2))


def test_a_cross_trigger_costs_in_psds2() -> None:
    """An hour. `a` is heard first where b is: 1 false an hour, and 0.5 times 1 cross trigger in 100 s of b, 36 an hour."""
    events = [Event(100, 200, "a"), Event(300, 400, "b")]
    heard = [(events[0], 0.7), (Event(300, 400, "a"), 0.8), (events[1], 0.9)]
    found = scored([clip("x", events, heard, "ab", 3600, 1)], "ab")
    assert found.classes["a"]["psds1"] == pytest.approx(1 - 1 / 100)
    assert found.classes["a"]["psds2"] == pytest.approx(1 - (1 + 0.5 * 36) / 100)
    assert found.classes["b"]["psds2"] == 1
    assert found.summary["psds2"].mean == pytest.approx(0.81)  # until 19 an hour the mean is 0.5 and so is the spread


def test_alpha_st_takes_the_spread_over_classes() -> None:
    """`a` is found, b never: mean 0.5, standard deviation 0.5."""
    events = [Event(100, 200, "a"), Event(300, 400, "b")]
    clips = [clip("x", events, [(events[0], 0.9)], "ab", 3600, 1)]
    assert means(clips, "ab")["psds1"] == pytest.approx(0)
    assert means(clips, "ab", alpha_st=0.0)["psds1"] == pytest.approx(0.5)
    assert means(clips, "ab", alpha_st=0.5)["psds2"] == pytest.approx(0.25)
    assert means(clips, "ab")["event_f1"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("start", "end", "f1"),
    [(2.2, 7, 1), (2.24, 7, 0), (1.8, 7, 1), (1.76, 7, 0), (2, 8, 1), (2, 8.04, 0), (2, 6, 1), (2, 5.96, 0)],
)
def test_collars(start: float, end: float, f1: float) -> None:
    """5 s of sound: an onset 0.2 s off counts, an offset 1 s off. By intersection all of them are found."""
    found = means([clip("x", [Event(2, 7, "a")], [(Event(start, end, "a"), 1)], "a")], "a")
    assert (found["event_f1"], found["intersection_f1"]) == (f1, 1)


def test_a_false_positive_in_a_silent_clip_lowers_f1() -> None:
    event = Event(2, 4, "a")
    good = clip("x", [event], [(event, 0.9)], "a")
    assert means([good, clip("quiet", [], [], "a")], "a")["event_f1"] == 1
    found = means([good, clip("quiet", [], [(event, 0.6)], "a")], "a")
    assert found["event_f1"] == found["intersection_f1"] == pytest.approx(2 / 3)
    assert found["psds1"] == 1  # a threshold above 0.6 is on the curve
    assert scored([good, clip("quiet", [], [(event, 0.6)], "a")], "a", 0.6).summary["event_f1"].mean == 1


def test_median_filter() -> None:
    scores = np.zeros((50, 2))
    scores[10], scores[30:38] = 1, 1
    smooth = median_filtered(scores, RATE, [0.28, 0])
    assert smooth[:, 0].nonzero()[0].tolist() == list(range(30, 38))  # one frame is gone, eight stand where they were
    assert (smooth[:, 1] == scores[:, 1]).all()
    assert [median_frames(s, RATE) for s in (0, 0.03, 0.12, 0.28, 0.3)] == [1, 1, 3, 7, 7]
    assert median_filtered(scores[:3], RATE, [0.28, 0.28]).shape == (3, 2)


def test_events_above_a_threshold() -> None:
    """The last frame ends with the clip; a score that equals the threshold is not above it."""
    scores = np.array([[0, 0.9], [0.6, 0.9], [0.6, 0], [0, 0], [0.5, 0.9]])
    x = event_clip("x", scores, 1, 4.5)
    found = detected(x, ["a", "filename\\"], {"a": 0.5, "filename\\": 0.8})
    assert found == [Event(0, 2, "filename\\"), Event(1, 3, "a"), Event(4, 4.5, "filename\\")]
    assert detected(event_clip("x", np.ones((9, 1)), 1, 2.0), ["a"], {"a": 0.5}) == [Event(0, 2, "a")]
    assert detected(event_clip("short", np.ones((0, 1)), 1, 0.5), ["a"], {"a": 0.5}) == []


def test_true_events_that_touch_are_one() -> None:
    events = [Event(0, 2, "a"), Event(1, 3, "b"), Event(2, 4, "a"), Event(3.5, 3.8, "a"), Event(5, 6, "a")]
    assert merged(events) == (Event(0, 4, "a"), Event(1, 3, "b"), Event(5, 6, "a"))


def random_clips(n: int, seed: int = 0) -> list[EventClip]:
    """Ten seconds of 3 classes each, events that overlap across classes, noisy scores of 0.01 (equal ones among them)."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(n):
        events = []
        for label in "abc":
            at = rng.uniform(0, 4)
            while at < 9 and rng.random() < 0.6:
                events.append(Event(at, at + rng.uniform(0.2, 3), label))
                at = events[-1].end_s + rng.uniform(0.1, 3)
        x = rng.normal(-3, 1.5, (250, 3))
        for e in events:
            x[round(e.start_s * RATE) : round(e.end_s * RATE), "abc".index(e.label)] += rng.normal(4, 1.5)
        out.append(event_clip(f"u{k}", np.round(1 / (1 + np.exp(-x)), 2), RATE, 10, events, [0.28] * 3))
    return out


def test_event_f1_is_that_of_sed_eval() -> None:
    sed_eval = pytest.importorskip("sed_eval")
    clips = random_clips(40)
    clips.append(event_clip("quiet", random_clips(1, 5)[0].scores, RATE, 10))
    theirs = sed_eval.sound_event.EventBasedMetrics(["a", "b", "c"], t_collar=0.2, percentage_of_length=0.2)
    for c in clips:
        lists = [
            [
                {"filename": c.id, "event_onset": e.start_s, "event_offset": e.end_s, "event_label": e.label}
                for e in events
            ]
            for events in (c.events, detected(c, list("abc"), dict.fromkeys("abc", 0.5)))
        ]
        theirs.evaluate(*lists)
    expected = theirs.results_class_wise_metrics()
    found = scored(clips, "abc")
    for label in "abc":
        f1 = expected[label]["f_measure"]["f_measure"]
        assert 0.1 < f1 < 0.95
        assert found.classes[label]["event_f1"] == pytest.approx(f1)
    assert found.summary["event_f1"].mean == pytest.approx(
        np.mean([expected[x]["f_measure"]["f_measure"] for x in "abc"])
    )


@pytest.mark.parametrize(("cttc", "alpha_ct", "shares"), [(None, 0.0, 0.7), (0.3, 0.5, 0.1)])
def test_redrawn_psds_is_the_librarys(cttc: float | None, alpha_ct: float, shares: float) -> None:
    """On a draw in which some clips stand twice and some are gone, as the library scores a set that is so."""
    from sed_scores_eval.intersection_based import psds

    clips, number, columns = random_clips(40), {"a": 0, "b": 1, "c": 2}, [0, 1, 2]
    criteria = {"dtc_threshold": shares, "gtc_threshold": shares, "cttc_threshold": cttc}
    found = changes(matched(clips, number, columns, "intersection_based", **criteria), clips, columns)
    weights = np.bincount(np.random.default_rng(3).integers(0, 40, 40), minlength=40)
    assert weights.min() == 0 < 2 <= weights.max()
    drawn = [
        EventClip(f"{c.id}-{k}", c.scores, c.times, c.duration_s, c.events)
        for c, w in zip(clips, weights)
        for k in range(w)
    ]
    durations = {c.id: c.duration_s for c in drawn}
    alphas = {"alpha_ct": alpha_ct, "alpha_st": 1.0, "max_efpr": 100.0}
    expected, *_ = psds(tables_of(drawn, columns), truth_of(drawn, number), durations, **criteria, **alphas)
    of = [[e.end_s - e.start_s for c in drawn for e in c.events if e.label == label] for label in "abc"]
    events, event_s = np.array([len(x) for x in of]), np.array([sum(x) for x in of])
    assert 0.1 < expected < 0.95
    assert redrawn_psds(found, weights, events, event_s, 400.0, **alphas) == pytest.approx(expected, abs=1e-9)


def test_intervals_hold_their_mean() -> None:
    clips = random_clips(40)
    for s in scored(clips, "abc").summary.values():
        assert s.mean is not None
        assert s.low is not None
        assert s.high is not None
        assert 0 < s.low < s.mean < s.high < 1
    one = scored(clips[:1], "abc").summary["event_f1"]
    assert (one.low, one.high) == (None, None)


def test_classes_without_events_are_left_out() -> None:
    """What is detected of b is neither here nor there; PSDS2 can be left out."""
    event = Event(2, 4, "a")
    clips = [clip("x", [event], [(event, 0.9), (Event(5, 6, "b"), 0.9)], "ab")]
    assert scored(clips, "ab").without_events == ["b"]
    assert means(clips, "ab") == {"psds1": 1, "psds2": 1, "event_f1": 1, "intersection_f1": 1}
    assert "psds2" not in means(clips, "ab", psds2=False)


def test_best_thresholds() -> None:
    """`a` is told from what is false between 0.3 and 0.4; b is never found, and c is not there."""
    event, other = Event(2, 4, "a"), Event(5, 6, "b")
    heard = [(event, 0.4), (Event(7, 8, "a"), 0.3), (Event(0, 1, "b"), 0.9), (Event(0, 1, "c"), 0.9)]
    found = best_thresholds([clip("x", [event, other], heard, "abc")], list("abc"), otherwise=0.6)
    assert found == pytest.approx({"a": 0.35, "b": 0.6, "c": 0.6})


def test_what_cannot_be_scored() -> None:
    event = Event(2, 4, "a")
    good = clip("x", [event], [(event, 0.9)], "a")
    with pytest.raises(AudiokdError, match="does not know: a"):
        scored([good], "b")
    with pytest.raises(AudiokdError, match="comes twice"):
        scored([good, good], "a")
    with pytest.raises(AudiokdError, match="no true event in 1 "):
        scored([clip("quiet", [], [], "a")], "a")
    with pytest.raises(AudiokdError, match=r"u7.*NaN"):
        event_clip("u7", np.where(np.arange(250)[:, None] == 9, np.nan, 0.5), RATE, 10, median_s=[0.28])
    with pytest.raises(AudiokdError, match=r"u7.*are no probabilities"):
        event_clip("u7", np.full((250, 1), -3.0), RATE, 10)
    with pytest.raises(AudiokdError, match=r"u7.*1 frames for 10 s, 250 expected"):
        event_clip("u7", np.zeros((1, 1)), RATE, 10)
