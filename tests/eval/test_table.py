"""Means, intervals and markdown."""

from __future__ import annotations

import numpy as np
import pytest

from audiokd.eval.table import markdown, score_table, summarise, summarise_rate


def test_interval_is_that_of_the_normal_for_many_values():
    x = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    s = summarise(list(x))
    half = 1.96 * x.std() / np.sqrt(x.size)
    assert s.mean == pytest.approx(x.mean())
    assert s.low == pytest.approx(x.mean() - half, abs=0.1 * half)
    assert s.high == pytest.approx(x.mean() + half, abs=0.1 * half)
    assert summarise(list(x)) == s  # the same values, the same interval


def test_none_is_left_out_and_counted():
    s = summarise([1.0, None, 3.0])
    assert (s.mean, s.n, s.none) == (2.0, 2, 1)
    assert summarise([None]).as_dict() == {"mean": None, "low": None, "high": None, "n": 0, "none": 1}
    one = summarise([2.0])
    assert (one.mean, one.low, one.high) == (2.0, None, None)
    assert (s.text(1), one.text(1), summarise([]).text()) == ("2.0 [1.0, 3.0]", "2.0", "-")


def test_error_rate_is_of_the_corpus_not_of_utterances():
    s = summarise_rate([1, 0], [1, 9])
    assert s.mean == pytest.approx(0.1)  # the mean over utterances would be 0.5
    assert summarise_rate([3], [0]).mean is None
    mixed = summarise_rate([1, 0, 0], [0, 5, 5])  # resamples of the empty utterance alone have no rate
    assert mixed.mean == pytest.approx(0.1)
    assert np.isfinite([mixed.low, mixed.high]).all()


def test_markdown_escapes():
    assert markdown(["a", "b"], [["x|y", "1\n2"]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |\n"


def test_systems_side_by_side():
    a = {"system": "a", "num_scored": 2, "summary": {"pesq": summarise([2.0, 3.0]).as_dict()}}
    b = {"system": "b", "num_scored": 2, "summary": {"wer": summarise_rate([1, 0], [10, 10]).as_dict()}}
    b["settings"] = {"asr": "models/whisper-base", "teacher_scored": True}
    b["store"] = {"frame_rate": 12.5, "bits_per_second": 1225.0, "tokens_per_second": 100.0}
    b["parameters"] = 1_517_070
    headers, rows = score_table([a, b])
    costs = ["frames/s", "bit/s", "tokens/s", "parameters"]
    assert headers == ["system", "n", "PESQ ↑", "WER % (whisper-base, teacher-scored) ↓", *costs]
    assert rows[0] == ["a", "2", "2.50 [2.00, 3.00]", *["-"] * 5]
    assert rows[1] == ["b", "2", "-", "5.00 [0.00, 10.00]", "12.5", "1225", "100", "1.52 M"]


def test_error_rates_of_two_asrs_stand_in_two_columns():
    results = [
        {
            "system": asr,
            "num_scored": 2,
            "summary": {"wer": summarise_rate([1, 1], [10, 10]).as_dict()},
            "settings": {"asr": f"models/{asr}"},
        }
        for asr in ("base", "small")
    ]
    headers, rows = score_table(results)
    assert headers[2:] == ["WER % (base) ↓", "WER % (small) ↓"]
    assert [r[2:] for r in rows] == [["10.00 [10.00, 10.00]", "-"], ["-", "10.00 [10.00, 10.00]"]]
