"""Batches of a fixed make-up are a function of (seed, step) alone."""

from __future__ import annotations

from audiokd.data.parts import PartDataset, PartSampler


def test_every_batch_has_of_each() -> None:
    whole = list(PartSampler([7, 3], [2, 4], 0, 21, seed=5))
    assert whole == list(PartSampler([7, 3], [2, 4], 0, 21, seed=5))
    for step, batch in enumerate(whole):
        assert [(s, part) for s, part, _ in batch] == [(step, 0)] * 2 + [(step, 1)] * 4
    for start in (1, 8, 20):
        assert list(PartSampler([7, 3], [2, 4], start, 21, seed=5)) == whole[start:]
    for part, size in ((0, 7), (1, 3)):
        seen = [i for batch in whole for _, p, i in batch if p == part]
        epochs = [sorted(seen[k : k + size]) for k in range(0, len(seen), size)]
        assert epochs == [list(range(size))] * len(epochs)


def test_processes_share_a_batch() -> None:
    one = list(PartSampler([9, 5], [4, 2], 0, 10, seed=1))
    two = [list(PartSampler([9, 5], [2, 1], 0, 10, seed=1, rank=r, world_size=2)) for r in (0, 1)]
    for step in range(10):
        assert sorted(one[step]) == sorted(two[0][step] + two[1][step])


def test_a_key_finds_its_part() -> None:
    class Part(dict):
        pass

    data = PartDataset([Part({(3, 1): "a"}), Part({(3, 1): "b"})])
    assert data[3, 0, 1] == "a"
    assert data[3, 1, 1] == "b"
    assert len(data) == 2
