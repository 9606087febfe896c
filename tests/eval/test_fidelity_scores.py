"""Scores of generated items: against torch-fidelity, torchmetrics, prdc and scipy, by hand, and what they must not depend on."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from tiny_pairs import save_pair
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from audiokd.errors import AudiokdError
from audiokd.eval.clip_score import clip_scores
from audiokd.eval.diversity import diversity
from audiokd.eval.feature_sets import read_feature_set
from audiokd.eval.frechet import frechet, frechet_summary, normal_of
from audiokd.eval.kid import kid, kid_summary
from audiokd.eval.manifold import manifold_summaries
from audiokd.teachers.pair import load_pair
from audiokd.tokens.store import StoreItem, StoreWriter, open_store


def sides(n: int = 120, m: int = 150, dim: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features that overlap in part, correlated among each other."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dim, dim))
    return rng.normal(0.3, 1.2, (n, dim)) @ mix, rng.normal(size=(m, dim)) @ mix


def test_frechet_against_torch_fidelity_and_scipy() -> None:
    a, b = sides()
    found = frechet(normal_of(a), normal_of(b))
    with contextlib.redirect_stderr(io.StringIO()):
        said = fid_statistics_to_metric(
            fid_features_to_statistics(torch.from_numpy(a)), fid_features_to_statistics(torch.from_numpy(b)), False
        )["frechet_inception_distance"]
    assert found == pytest.approx(float(said), rel=1e-8)
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1])
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    assert found == pytest.approx(apart + np.trace(covariances[0] + covariances[1] - 2 * root.real), rel=1e-8)


def test_frechet_against_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    a, b = sides()
    moments = [torch.from_numpy(x) for of in (a, b) for x in (of.mean(0), np.cov(of, rowvar=False))]
    assert frechet(normal_of(a), normal_of(b)) == pytest.approx(float(_compute_fid(*moments)), rel=1e-8)


def test_frechet_in_one_dimension() -> None:
    """(mu - nu)^2 + (sigma - tau)^2."""
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [11.0], [12.0]])
    assert frechet(normal_of(a), normal_of(b)) == pytest.approx(81 + 1)


def test_frechet_does_not_mind() -> None:
    """Equal sides, a turned space, order; and where a covariance is singular it is what a little noise makes of it."""
    a, b = sides()
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    value = frechet(normal_of(a), normal_of(b))
    assert frechet(normal_of(a), normal_of(a[::-1])) == pytest.approx(0, abs=1e-9)
    assert frechet(normal_of(b), normal_of(a)) == pytest.approx(value)
    assert frechet(normal_of(a @ turn + 5), normal_of(b @ turn + 5)) == pytest.approx(value)
    few, noise = sides(8, 9), np.random.default_rng(4).normal(size=(4000, 12)) * 1e-6
    lifted = [np.concatenate([x] * 500)[:4000] + noise for x in few]
    whole = [normal_of(x, np.full(len(x), 500.0)) for x in few]
    assert frechet(*whole) == pytest.approx(frechet(*map(normal_of, lifted)), rel=1e-2)


def test_frechet_summary_says_what_it_stands_on() -> None:
    a, b = sides()
    found, about = frechet_summary(a, b)
    assert about == {"dim": 12, "rank_generated": 12, "rank_real": 12}
    assert found.mean == pytest.approx(frechet(normal_of(a), normal_of(b)))
    assert found.low < found.mean < found.high
    assert frechet_summary(a, b) == (found, about)  # the same numbers, the same interval
    a[:, 3] = 7.0
    assert frechet_summary(a, b, draws=2)[1]["rank_generated"] == 11
    with pytest.raises(AudiokdError, match="12 generated rows of 12 features: their covariance is singular"):
        frechet_summary(a[:12], b)
    assert frechet_summary(a[:9], b, allow_singular=True, draws=2)[1]["rank_generated"] == 8
    with pytest.raises(AudiokdError, match="12 features of generated items, 11 of real ones"):
        frechet_summary(a, b[:, :11])
    with pytest.raises(AudiokdError, match="has no covariance"):
        frechet_summary(a[:1], b, allow_singular=True)


def test_frames_of_an_item_are_drawn_together() -> None:
    """An item's frame repeated is no news: the interval stays as wide, and frames by themselves would make it narrower."""
    a, b = sides(60, 60, 3)
    ids = np.repeat(np.arange(60), 5)
    alone = frechet_summary(a, b)[0]
    together = frechet_summary(a[ids], b[ids], ids, ids)[0]
    apart = frechet_summary(a[ids], b[ids])[0]
    width = [s.high - s.low for s in (alone, together, apart)]
    assert width[1] == pytest.approx(width[0], rel=0.1)
    assert width[2] < 0.7 * width[0]
    assert together.n == 60


def test_kid_against_torch_fidelity() -> None:
    a, b = sides()
    said = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b[:120]), kid_subsets=1, kid_subset_size=120, verbose=False, rng_seed=0
    )
    assert kid(a, b[:120]) == pytest.approx(float(said["kernel_inception_distance_mean"]), rel=1e-8)


def test_kid_by_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sides(7, 9, 4)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    own = [sum(k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j) for x in (a, b)]
    both = sum(k(x, y) for x in a for y in b)
    value = own[0] / 42 + own[1] / 72 - 2 * both / 63
    assert kid(a, b) == pytest.approx(value)
    monkeypatch.setattr("audiokd.eval.kid.BLOCK", 2)
    assert kid(a, b) == pytest.approx(value)
    found = kid_summary(a, b)
    assert found.mean == pytest.approx(value)
    assert found.low < value < found.high
    same = kid_summary(*(np.random.default_rng(s).normal(size=(200, 4)) for s in (0, 1)))
    assert same.low < 0 < same.high  # unbiased: of one distribution it is about 0, not over it
    with pytest.raises(AudiokdError, match="two of each"):
        kid_summary(a[:1], b)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_manifold_against_prdc(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiokd.eval.manifold.BLOCK", 32)
    a, b = sides()
    a[7] = a[8]  # two alike
    with contextlib.redirect_stdout(io.StringIO()):
        said = compute_prdc(b, a, k)
    found = manifold_summaries(a, b, k)
    assert {n: s.mean for n, s in found.items()} == {n: pytest.approx(v) for n, v in said.items()}
    assert all(s.low <= s.mean <= s.high for s in found.values())
    assert (found["precision"].n, found["density"].n, found["recall"].n, found["coverage"].n) == (120, 120, 150, 150)


def test_manifold_is_that_of_distances() -> None:
    """Far from the origin, with copies on one side and on both: as pair by pair, where ties are out of a ball."""
    rng = np.random.default_rng(1)
    b = rng.normal(1000, 1, (90, 40)).astype(np.float32).astype(np.float64)
    a = np.concatenate([b[:30], np.repeat(b[40:42], 12, axis=0), rng.normal(1000, 1, (20, 40))])
    apart, k = cdist(b, a), 5
    reach_a, reach_b = (np.sort(cdist(x, x), axis=1)[:, k] for x in (a, b))
    out = 1 - 1e-9  # cdist's own rounding
    within = apart < reach_b[:, None] * out
    want = {
        "precision": within.any(0).mean(),
        "recall": (apart < reach_a * out).any(1).mean(),
        "density": within.sum() / k / len(a),
        "coverage": within.any(1).mean(),
    }
    assert {n: s.mean for n, s in manifold_summaries(a, b, k).items()} == {n: pytest.approx(v) for n, v in want.items()}
    assert manifold_summaries(b, b, k)["density"].mean == pytest.approx(1)
    assert manifold_summaries(np.repeat(b[:1], 20, axis=0), b, k)["recall"].mean == 0


def test_manifold_knows_collapse_and_nonsense() -> None:
    real = np.random.default_rng(0).normal(size=(200, 3))
    one = real[:20] * 0.01 + real[0]
    found = manifold_summaries(one, real)
    assert found["precision"].mean == 1
    assert found["recall"].mean < 0.1
    assert found["coverage"].mean < 0.1
    far = manifold_summaries(real + 100, real)
    assert all(s.mean == 0 for s in far.values())
    with pytest.raises(AudiokdError, match="have no 5 neighbours each"):
        manifold_summaries(one[:5], real)


def test_diversity_by_hand() -> None:
    x = np.array([[0.0, 0], [3, 4], [0, 0], [1, 0], [1, 0], [1, 0], [9, 9]])
    found = diversity(x, ["a", "a", "a", "b", "b", "b", "c"])
    assert found.mean == pytest.approx((np.mean([5, 0, 5]) + 0) / 2)
    assert (found.n, found.none) == (2, 1)
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 4))
    apart = cdist(y, y)
    assert diversity(y, ["z"] * 30).mean == pytest.approx(apart.sum() / (30 * 29))


def test_clip_score_against_torchmetrics(tmp_path: Path) -> None:
    from PIL import Image
    from torchmetrics.functional.multimodal import clip_score
    from transformers import CLIPModel, CLIPProcessor

    save_pair("clip", tmp_path / "clip")
    pair = load_pair(str(tmp_path / "clip"))
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(6)]
    texts = ["dog", "cat", "rain", "a photo of a dog.", "cat", "rain"]
    found = clip_scores(pair, pictures, texts)

    class Plain(CLIPModel):
        """As torchmetrics expects it, of transformers before 5: embeddings, not what holds them."""

        def get_image_features(self, *args: Any, **kwargs: Any) -> Any:
            return super().get_image_features(*args, **kwargs).pooler_output

        def get_text_features(self, *args: Any, **kwargs: Any) -> Any:
            return super().get_text_features(*args, **kwargs).pooler_output

    def model() -> tuple[CLIPModel, CLIPProcessor]:
        return Plain.from_pretrained(tmp_path / "clip"), CLIPProcessor(pair.processor, pair.tokenizer)

    tensors = [torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures]
    # one by one: of several it clamps the mean and not each, as the paper does
    said = [float(clip_score(x, t, model_name_or_path=model).detach()) for x, t in zip(tensors, texts)]
    assert found == pytest.approx(said, rel=1e-3, abs=1e-3)
    assert any(f > 0 for f in found)
    assert len(set(found)) > 3


def store_of(folder: Path, arrays: list[np.ndarray], **meta: str) -> Path:
    writer = StoreWriter(folder, "features", {"layer": "embedding", "media": "image", **meta})
    writer.write_shard("00000", [StoreItem(f"i{k}", x.astype(np.float32), 0, 1) for k, x in enumerate(arrays)])
    writer.finish(["00000"])
    return folder


def test_feature_sets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 3)) for n in (2, 1, 4)]
    found = read_feature_set(open_store(store_of(tmp_path / "s", arrays)))
    np.testing.assert_allclose(found.means, [x.mean(0) for x in arrays], rtol=1e-6)
    assert found.item.tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert read_feature_set(open_store(tmp_path / "s"), {"i1"}).ids == ("i1",)
    with pytest.raises(AudiokdError, match="none of these items"):
        read_feature_set(open_store(tmp_path / "s"), {"x"})
    with pytest.raises(AudiokdError, match="a store of map"):
        read_feature_set(open_store(store_of(tmp_path / "m", arrays, layer="map")))
