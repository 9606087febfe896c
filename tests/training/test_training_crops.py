"""Batches are a pure function of (seed, step): the same after a resume, whatever the ranks, workers and bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from torch.utils.data import DataLoader

from audiokd.data.audio import load_at
from audiokd.data.crops import CropDataset, GroupedStepSampler, StepSampler, collate, rng_of
from audiokd.data.inputs import open_input
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

RATE = 24000


@pytest.fixture
def utterances(two_cities: Path, tmp_path: Path) -> list[Utterance]:
    """Seven segments of the recording, the last one shorter than a crop."""
    (tmp_path / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"two_cities-{i} two_cities {5 * i} {5 * i + (5 if i < 6 else 0.4)}" for i in range(7)]
    (tmp_path / "segments").write_text("\n".join(rows) + "\n")
    return open_input(tmp_path).utterances()


def flat(sampler: StepSampler) -> list[int]:
    return [index for batch in sampler for _, index in batch]


def test_rng_depends_on_its_key_alone() -> None:
    a = rng_of(7, "crop", 3, "utt").integers(2**62, size=4)
    rng_of(8, "crop", 3, "utt").integers(2**62)
    np.random.seed(0)
    assert np.array_equal(a, rng_of(7, "crop", 3, "utt").integers(2**62, size=4))
    assert not np.array_equal(a, rng_of(7, "crop", 4, "utt").integers(2**62, size=4))
    assert rng_of(1, 23).integers(2**62) != rng_of(12, 3).integers(2**62)  # the key's parts are kept apart
    assert int(rng_of(0, "epoch", 0).integers(2**62)) == 3605013523215009697  # on every platform, for ever


def test_sampler_is_pure_and_a_resume_goes_on_in_it() -> None:
    whole = list(StepSampler(7, 3, 0, 40, seed=5))
    assert whole == list(StepSampler(7, 3, 0, 40, seed=5))
    assert len(whole) == len(StepSampler(7, 3, 0, 40, seed=5)) == 40
    for start in (1, 2, 6, 13, 39):
        assert list(StepSampler(7, 3, start, 40, seed=5)) == whole[start:]
    assert [s for batch in whole for s, _ in batch] == [step for step in range(40) for _ in range(3)]
    assert whole != list(StepSampler(7, 3, 0, 40, seed=6))
    assert list(StepSampler(7, 3, 9, 9, seed=5)) == []


def test_an_epoch_covers_every_utterance_once() -> None:
    seen = flat(StepSampler(7, 3, 0, 70, seed=5))
    epochs = [seen[k : k + 7] for k in range(0, len(seen), 7)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert len({tuple(e) for e in epochs}) > 25  # a fresh order each


def test_ranks_share_an_epoch() -> None:
    one = list(StepSampler(11, 6, 0, 22, seed=1))
    ranks = [list(StepSampler(11, 2, 0, 22, seed=1, rank=r, world_size=3)) for r in range(3)]
    for step, batch in enumerate(one):
        assert [b for r in ranks for b in r[step]] == batch  # three ranks are one of three times the batch
    for first in range(0, 22, 11):  # 11 steps of 6: six whole epochs, each utterance six times, over all ranks together
        counts = np.bincount([i for r in ranks for b in r[first : first + 11] for _, i in b], minlength=11)
        assert (counts == 6).all()


def test_nothing_to_train_on() -> None:
    with pytest.raises(AudiokdError, match="nothing to train on"):
        StepSampler(0, 1, 0, 1, seed=0)


def test_a_crop_is_a_stretch_of_its_utterance(utterances: list[Utterance]) -> None:
    data = CropDataset(utterances, RATE, 0.96, seed=3)
    whole = load_at(utterances[2], RATE)
    starts = []
    for step in range(6):
        item = data[step, 2]
        assert item["id"] == "two_cities-2"
        assert item["wav"].dtype == np.float32
        assert item["wav"].shape == (23040,)
        assert item["length"] == 23040
        start = round(rng_of(3, "crop", step, "two_cities-2").uniform(0, 5 - 0.96) * RATE)
        assert np.allclose(item["wav"], whole[start : start + 23040], atol=1e-6)
        starts.append(start)
    assert len(set(starts)) == 6
    assert np.array_equal(data[4, 2]["wav"], CropDataset(utterances, RATE, 0.96, seed=3)[4, 2]["wav"])
    assert not np.array_equal(data[4, 2]["wav"], CropDataset(utterances, RATE, 0.96, seed=4)[4, 2]["wav"])


def test_short_utterances_are_padded_and_validation_starts_at_zero(utterances: list[Utterance]) -> None:
    short = CropDataset(utterances, RATE, 0.96, seed=3)[0, 6]
    assert short["length"] == 9600
    assert np.array_equal(short["wav"][:9600], load_at(utterances[6], RATE))
    assert not short["wav"][9600:].any()
    dev = CropDataset(utterances, RATE, 0.96, seed=None)
    assert np.allclose(dev[0, 3]["wav"], load_at(utterances[3], RATE)[:23040], atol=1e-6)
    assert np.array_equal(dev[0, 3]["wav"], dev[99, 3]["wav"])


@pytest.mark.parametrize("start", [0, 5])
def test_workers_change_nothing(utterances: list[Utterance], start: int) -> None:
    def batches(first: int, num_workers: int) -> list[dict]:
        sampler = StepSampler(len(utterances), 2, first, 9, seed=5)
        data = CropDataset(utterances, RATE, 0.5, seed=5)
        return list(DataLoader(data, batch_sampler=sampler, collate_fn=collate, num_workers=num_workers))

    here, there = batches(0, 0)[start:], batches(start, 2)
    assert len(here) == len(there) == 9 - start
    for a, b in zip(here, there):
        assert a["ids"] == b["ids"]
        assert torch.equal(a["wav"], b["wav"])
        assert torch.equal(a["lengths"], b["lengths"])


def test_an_unreadable_utterance_is_replaced_in_training_absent_in_validation_and_reported_once(
    utterances: list[Utterance], two_cities: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x, rate = sf.read(two_cities, frames=48000, dtype="float32")
    x[::2000] = np.nan
    sf.write(tmp_path / "nan.wav", x, rate, subtype="FLOAT")
    (tmp_path / "cut.wav").write_bytes(two_cities.read_bytes()[:50_000])
    bad = [Utterance("bad-nan", str(tmp_path / "nan.wav")), Utterance("bad-cut", str(tmp_path / "cut.wav"))]
    good = CropDataset(utterances, RATE, 0.96, seed=3)
    data = CropDataset(utterances[:2] + bad + utterances[2:], RATE, 0.96, seed=3)
    for step in (0, 1, 2):
        for index, expected in ((0, 0), (1, 1), (2, 2), (3, 2), (4, 2), (5, 3)):  # both bad ones give way to the next
            item, same = data[step, index], good[step, expected]
            assert item["id"] == same["id"]
            assert np.array_equal(item["wav"], same["wav"])
    dev = CropDataset(data.utterances, RATE, 0.96, seed=None)
    assert [dev[0, i] is None for i in range(5)] == [False, False, True, True, False]
    assert collate([dev[0, i] for i in range(5)])["ids"] == [utterances[i].id for i in range(3)]
    none = collate([dev[0, 2], dev[0, 3]])
    assert (none["ids"], len(none["wav"]), len(none["lengths"])) == ([], 0, 0)
    said, checked = capfd.readouterr().err.split("left out of validation", 1)
    assert checked.count("left out of validation") == 1
    assert said.count("left out of training") == 2
    assert said.count("utterance bad-nan: NaN or Inf") == 1
    assert said.count("utterance bad-cut: truncated") == 1


def test_a_corpus_of_unreadable_files_stops(tmp_path: Path) -> None:
    data = CropDataset([Utterance(f"u{i}", str(tmp_path / f"{i}.wav")) for i in range(3)], RATE, 0.96, seed=3)
    with pytest.raises(AudiokdError, match=r"20 utterances in a row cannot be read"):
        data[0, 0]


def test_so_many_of_each_group() -> None:
    """Each group by epochs of its own, whatever the others' sizes; a step is a function of itself, a rank has its own part."""
    groups = [[0, 1, 2], [10, 11, 12, 13, 14, 15], [20]]
    batches = [*GroupedStepSampler(groups, 2, 0, 6, seed=0)]
    assert len(GroupedStepSampler(groups, 2, 2, 6, seed=0)) == 4
    for step, batch in enumerate(batches):
        assert [s for s, _ in batch] == [step] * 6
        assert [k for _, k in batch[4:]] == [20, 20]
    small, large = ([k for b in batches for _, k in b[part]] for part in (slice(0, 2), slice(2, 4)))
    assert all(sorted(small[i : i + 3]) == groups[0] for i in range(0, 12, 3))
    assert all(sorted(large[i : i + 6]) == groups[1] for i in (0, 6))
    assert [*GroupedStepSampler(groups, 2, 4, 6, seed=0)] == batches[4:]
    assert [*GroupedStepSampler(groups, 2, 0, 6, seed=1)] != batches
    ranks = [[*GroupedStepSampler(groups, 1, 0, 6, 0, r, 2)] for r in (0, 1)]
    both = [[a[k], b[k]] for a, b in zip(*ranks) for k in range(3)]
    assert [pair for k, pair in enumerate(both) if k % 3 == 1] == [b[2:4] for b in batches]
    with pytest.raises(AudiokdError, match="nothing to train on"):
        GroupedStepSampler([[0], []], 2, 0, 6, seed=0)
