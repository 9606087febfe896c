"""PNMI and purities: known answers, the same as scikit-learn's, and a floor that shows what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
from phone_sets import per_frame, phone_set
from sklearn.metrics import mutual_info_score

from audiokd.data.ctm import Phone
from audiokd.errors import AudiokdError
from audiokd.eval.grid import centres, frame_of, phone_of
from audiokd.eval.phone_information import phone_information
from audiokd.eval.table import summarise_drawn
from audiokd.eval.token_length import token_length


def test_the_grid_belongs_to_the_frame_and_phone_over_it():
    assert centres(0.0, 0.03).tolist() == [0, 1, 2]
    assert centres(0.005, 0.015).tolist() == [0]  # its point 5 ms is in, 15 ms is not
    assert frame_of(np.arange(17), 12.5).tolist() == [0] * 8 + [1] * 8 + [2]
    assert frame_of(np.arange(6), 50).tolist() == [0, 0, 1, 1, 2, 2]
    labels = phone_of([Phone(0.0, 0.012, "a"), Phone(0.03, 1.0, "b")], 5)
    assert labels == ["a", None, None, "b", "b"]


def test_codes_that_are_the_phones_hold_all_and_codes_without_them_nothing():
    phones = phone_set()
    same = phone_information(phones, per_frame(phones), 100)
    assert [same[k]["mean"] for k in ("pnmi", "phone_purity", "code_purity")] == pytest.approx([1, 1, 1])
    assert same["pnmi_over_chance"] == pytest.approx(1)
    assert (same["codes"], same["phones"], same["utterances"]) == (5, 5, 12)
    assert same["points"] == same["frames"] == sum(len(c) for c in per_frame(phones).values())
    none = phone_information(phones, {u: np.zeros_like(c) for u, c in per_frame(phones).items()}, 100)
    assert none["pnmi"]["mean"] == pytest.approx(0, abs=1e-12)
    assert none["code_purity"]["mean"] == pytest.approx(1)


def test_values_are_those_of_scikit_learn():
    phones = phone_set()
    rng = np.random.default_rng(1)
    codes = {u: (3 * c + rng.integers(0, 7, c.size)) % 11 for u, c in per_frame(phones).items()}
    found = phone_information(phones, codes, 100)
    y, z = (np.concatenate([d[u] for u in sorted(d)]) for d in (per_frame(phones), codes))
    p = np.bincount(y) / y.size
    entropy = -(p * np.log(p)).sum()
    assert found["pnmi"]["mean"] == pytest.approx(mutual_info_score(y, z) / entropy)
    assert found["phone_entropy_bits"] == pytest.approx(entropy / np.log(2))
    assert found["mutual_information_bits"] == pytest.approx(mutual_info_score(y, z) / np.log(2))
    table = np.zeros((5, 11))
    np.add.at(table, (y, z), 1)
    assert found["phone_purity"]["mean"] == pytest.approx(table.max(0).sum() / y.size)
    assert found["code_purity"]["mean"] == pytest.approx(table.max(1).sum() / y.size)
    for k in ("pnmi", "phone_purity", "code_purity"):
        assert found[k]["low"] < found[k]["mean"] < found[k]["high"]


@pytest.mark.parametrize(("frames", "rate", "points"), [(29, 100, 29), (29, 6.25, 464), (3, 75, 4)])
def test_every_point_of_the_grid_counts(frames, rate, points):
    """29 / 6.25 / 0.01 is 463.99... in floating point, and 464 points lie under 29 frames."""
    phones = {"u": [Phone(0.0, 0.02, "a"), Phone(0.02, 9.0, "b")]}
    assert phone_information(phones, {"u": np.arange(frames)}, rate)["points"] == points


@pytest.mark.parametrize("rate", [25.0, 12.5])
def test_chance_is_seen_as_chance(rate):
    """500 random codes on 12 short utterances: PNMI well above 0 and, as the floor says, all of it by chance."""
    phones, rng = phone_set(), np.random.default_rng(2)
    codes = {u: rng.integers(0, 500, int(p[-1].end_s * rate)) for u, p in phones.items()}
    found = phone_information(phones, codes, rate)
    assert found["pnmi"]["mean"] > 0.2
    assert found["pnmi_over_chance"] == pytest.approx(0, abs=0.05)


def test_several_streams_are_one_tuple():
    """Two streams that know the phone only together: low bit and the rest."""
    phones = phone_set()
    codes = {u: np.stack([c % 2, c // 2]) for u, c in per_frame(phones).items()}
    assert phone_information(phones, codes, 100)["pnmi"]["mean"] == pytest.approx(1)
    assert phone_information(phones, {u: c[:1] for u, c in codes.items()}, 100)["pnmi"]["mean"] < 0.6


def test_what_has_no_phone_or_no_code_is_not_counted():
    phones = phone_set(2)
    codes = per_frame(phones)
    first = min(phones)
    holes = {**phones, first: phones[first][::2], "without codes": phones[first]}
    short = {**codes, first: codes[first][:100], "without phones": codes[first]}
    found = phone_information(holes, short, 100)
    covered = sum(round(100 * min(p.end_s, 1.0)) - round(100 * min(p.start_s, 1.0)) for p in phones[first][::2])
    assert found["points"] == len(codes[max(phones)]) + covered
    assert found["utterances"] == 2
    with pytest.raises(AudiokdError, match="none of 1 utterances with codes and 1 with phones has both"):
        phone_information({"a": phones[first]}, {"b": codes[first]}, 100)
    with pytest.raises(AudiokdError, match="all is a: one phone"):
        phone_information({"a": [Phone(0, 1, "a")]}, {"a": np.arange(100)}, 100)


def test_one_utterance_has_no_interval_and_drawn_values_are_set_around_the_value():
    phones = phone_set(1)
    assert phone_information(phones, per_frame(phones), 100)["pnmi"]["low"] is None
    s = summarise_drawn(0.5, np.linspace(0.6, 0.8, 1001), 9)
    assert (s.low, s.high) == pytest.approx((0.405, 0.595))


def test_token_length():
    found = token_length([10, 20, 30, 99], [20, 40, 60, 0])  # the last one has no text
    assert found["tokens_per_character"]["mean"] == pytest.approx(0.5)
    assert found["correlation"]["mean"] == pytest.approx(1)
    assert found["correlation"]["n"] == 3
    rng = np.random.default_rng(0)
    x, noise = rng.integers(20, 90, 200), rng.integers(0, 60, 200)
    other = token_length((x + noise).tolist(), x.tolist())["correlation"]
    assert other["mean"] == pytest.approx(np.corrcoef(x + noise, x)[0, 1])
    assert other["low"] < other["mean"] < other["high"]
    assert token_length([5, 5, 5], [1, 2, 3])["correlation"]["mean"] is None
