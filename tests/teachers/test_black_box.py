"""Teachers that give embeddings and nothing else: never a gradient, never a weight, each query counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pairs import save_pair
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.audio import load_at
from audiokd.data.images import load_image
from audiokd.data.items import Item, write_items
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.stages.extract import extract
from audiokd.teachers.black_box import CallableBlackBox, StoredBlackBox, weights_of
from audiokd.teachers.pair import load_pair
from audiokd.teachers.text_bank import fill, make_text_bank
from audiokd.tokens.store import open_store


def test_a_function_is_asked_without_gradient() -> None:
    weight = torch.randn(6, 4, requires_grad=True)
    seen: list[tuple[bool, bool]] = []

    def function(views: Tensor) -> Tensor:
        seen.append((torch.is_grad_enabled(), views.requires_grad))
        return views @ weight

    teacher = CallableBlackBox(function, "service")
    views = torch.randn(3, 6, requires_grad=True)
    found = teacher.embed(list("abc"), views)
    torch.testing.assert_close(found, F.normalize(views @ weight, dim=-1).detach())
    assert not found.requires_grad
    assert seen == [(False, False)]
    teacher.embed(list("ab"), views[:2])
    assert teacher.queries == 5
    assert CallableBlackBox(lambda v: v.numpy()[:, :4]).embed(list("abc"), views).shape == (3, 4)


def test_a_store_is_asked_by_id(two_cities: Path, tmp_path: Path) -> None:
    """Of real sound, as `audiokd extract` writes it; in any order, views or none."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i} two_cities {i} {i + 1}\n" for i in range(5)]
    (tmp_path / "data" / "segments").write_text("".join(rows))
    extract("log_mel", str(tmp_path / "data"), str(tmp_path / "s"), layer="clip", threads=1)
    teacher = StoredBlackBox(str(tmp_path / "s"))
    found = teacher.embed(["t-3", "t-0"], torch.zeros(2, 1))
    stored = open_store(tmp_path / "s")
    for row, i in zip(found, ("t-3", "t-0")):
        x = stored[i].array[0]
        np.testing.assert_allclose(row.numpy(), x / np.linalg.norm(x), rtol=1e-5)
    assert teacher.queries == 2
    assert len(teacher.model_sha256) == 64
    with pytest.raises(AudiokdError, match="no embedding of 1 of 2 items, t-9 first"):
        teacher.embed(["t-1", "t-9"])
    extract("log_mel", str(tmp_path / "data"), str(tmp_path / "f"), layer="frames", threads=1)
    with pytest.raises(AudiokdError, match=r"t-0 has \d+ frames, one embedding is due"):
        StoredBlackBox(str(tmp_path / "f")).embed(["t-0"])


@pytest.mark.parametrize("family", ["clip", "siglip", "clap", "lit_vit"])
def test_a_pair_models_embeddings_as_a_store(family: str, coffee: Path, two_cities: Path, tmp_path: Path) -> None:
    """`audiokd extract` of a pair model: its own preprocessing, and the hash that its class vectors have."""
    pair = load_pair(str(save_pair(family, tmp_path / family)))
    data = tmp_path / "data"
    data.mkdir()
    if pair.kind == "image":
        item = Item("a", str(coffee))
        write_items(data, [item])
        media: list[Any] = [load_image(item)]
    else:
        (data / "wav.scp").write_text(f"a {two_cities}\n")
        media = [torch.from_numpy(load_at(Utterance("a", str(two_cities)), pair.sample_rate))]
    extract(str(tmp_path / family), str(data), str(tmp_path / "store"), threads=1)
    teacher = StoredBlackBox(str(tmp_path / "store"))
    expected = pair.embed_media(pair.preprocess(media))
    # a LiT's exported preprocessing resizes tensors, ours pictures
    torch.testing.assert_close(teacher.embed(["a"]), expected, atol=2e-2 if family == "lit_vit" else 1e-4, rtol=0)
    assert teacher.model_sha256 == make_text_bank(pair, fill(["dog", "cat"], "name"), 1.0).model_sha256


def test_what_is_refused(tmp_path: Path) -> None:
    views = torch.ones(2, 3)
    for function, said in (
        (lambda v: v[:1], r"\[1, 3\] for 2 views"),
        (lambda v: v[0], r"\[3\] for 2 views"),
        (lambda v: v * 0, "the embedding of a is no direction"),
        (lambda v: torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]), "the embedding of b is no direction"),
    ):
        with pytest.raises(AudiokdError, match=said):
            CallableBlackBox(function).embed(["a", "b"], views)
    with pytest.raises(AudiokdError, match="asked with views"):
        CallableBlackBox(lambda v: v).embed(["a"])
    with pytest.raises(AudiokdError, match="VL2V-SD needs the teacher's weights") as e:
        weights_of(CallableBlackBox(lambda v: v, "service"), "VL2V-SD")
    assert str(e.value).startswith("service: ")
    pair = load_pair(str(save_pair("clip", tmp_path / "clip")))
    assert weights_of(pair, "VL2V-SD") is pair.net


def test_several_tensors_an_item(tmp_path: Path) -> None:
    """As of sound, of which a clip may have several windows: a query an item, not a window."""
    pair = load_pair(str(save_pair("clap", tmp_path / "clap")))
    teacher = CallableBlackBox(pair.embed_media)
    views = pair.preprocess([torch.randn(16_000 * 5) * 0.1, torch.randn(8_000) * 0.1])
    assert views["windows"].tolist() == [3, 1]
    with torch.no_grad():
        torch.testing.assert_close(teacher.embed(["a", "b"], views), pair.embed_media(views))
    assert teacher.queries == 2
    with pytest.raises(AudiokdError, match=r"\[2, 24\] for 1 views"):
        teacher.embed(["a"], views)
