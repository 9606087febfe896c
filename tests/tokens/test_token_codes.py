"""`Codes` pads, unpads, and turns its axes without changing a code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiokd.errors import AudiokdError
from audiokd.tokens.codes import Codes
from audiokd.tokens.store import StoreItem, open_store


def _one(q: int, t: int, samples: int | None = None, rate: int | None = 16000) -> Codes:
    codes = torch.arange(1, q * t + 1).reshape(1, q, t)
    return Codes(codes, torch.tensor([t]), None if samples is None else torch.tensor([samples]), rate)


@settings(max_examples=50, deadline=None)
@given(q=st.integers(1, 4), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_collate_then_index_gives_each_back(q: int, lengths: list[int]) -> None:
    items = [_one(q, t, t * 320) for t in lengths]
    batch = Codes.collate(items)
    assert batch.codes.shape == (len(lengths), q, max(lengths))
    assert batch.codes.dtype == torch.int64
    assert batch.lengths.tolist() == lengths
    for i, item in enumerate(items):
        assert torch.equal(batch[i].codes, item.codes)
        assert batch[i].num_samples.tolist() == [lengths[i] * 320]
        assert not batch.codes[i, :, lengths[i] :].any()  # padded with 0
    assert torch.equal(Codes.collate([batch, *items]).codes[: len(items)], batch.codes)
    assert [len(c) for c in batch] == [1] * len(items)


def test_layouts() -> None:
    batch = Codes.collate([_one(3, 5), _one(3, 2)])
    assert batch.to_layout("bqt").shape == (2, 3, 5)
    qbt, btq = batch.to_layout("qbt"), batch.to_layout("btq")
    assert qbt.shape == (3, 2, 5)
    assert btq.shape == (2, 5, 3)
    assert qbt[2, 0, 4] == btq[0, 4, 2] == batch.codes[0, 2, 4] == 15
    assert qbt.is_contiguous()
    with pytest.raises(AudiokdError, match="layout 'tbq' is not known"):
        batch.to_layout("tbq")


def test_semantic_keeps_the_codebook_axis() -> None:
    batch = Codes.collate([_one(3, 5, 100), _one(3, 2, 50)])
    assert batch.semantic().codes.shape == (2, 1, 5)
    assert torch.equal(batch.semantic(2).codes, batch.codes[:, :2])
    assert batch.semantic().num_samples.tolist() == [100, 50]
    for n in (0, 4):
        with pytest.raises(AudiokdError, match=f"{n} codebooks asked for, there are 3"):
            batch.semantic(n)


def test_what_does_not_go_together() -> None:
    with pytest.raises(AudiokdError, match="nothing to collate"):
        Codes.collate([])
    with pytest.raises(AudiokdError, match="2 codebooks at 16000 Hz; 3 codebooks at 16000 Hz"):
        Codes.collate([_one(3, 5), _one(2, 5)])
    with pytest.raises(AudiokdError, match="24000 Hz"):
        Codes.collate([_one(2, 5), _one(2, 5, rate=24000)])
    assert Codes.collate([_one(2, 5, 9), _one(2, 5)]).num_samples is None
    with pytest.raises(AudiokdError, match=r"\[B, Q, T'\] and \[B\] expected"):
        Codes(torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 5]))
    with pytest.raises(IndexError):
        _one(2, 5)[1]
    assert torch.equal(_one(2, 5).to("cpu")[-1].codes, _one(2, 5).codes)


def test_a_batch_from_a_store(store_path: Path, speech_items: list[StoreItem]) -> None:
    store = open_store(store_path)
    batch = Codes.from_store(store[i.id] for i in speech_items)
    assert batch.sample_rate == 16000
    for i, item in enumerate(speech_items):
        assert torch.equal(batch[i].codes[0], torch.from_numpy(item.array))
        assert batch.num_samples[i] == item.num_samples
