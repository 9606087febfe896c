"""CVPR as a whole, on real handwriting and names around its classes; phrases by name, cut to what the text model reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pairs import save_pair
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.vocabulary import Vocabulary
from audiokd.errors import AudiokdError
from audiokd.methods.s3a.cvpr import Found, cvpr, describe, embed_phrases, question_key, read_back, senses_of
from audiokd.methods.s3a.phrases import Phrase, Sense, ask
from audiokd.methods.s3a.settings import StructureSettings
from audiokd.methods.s3a.structure import centre_shares, structure
from audiokd.teachers.pair import load_pair
from audiokd.teachers.text_bank import TextBank

OTHERS = 60


class Directions:
    """A text encoder that knows directions by word."""

    kind, dim, max_tokens = "image", 64, 20

    def __init__(self, by_word: dict[str, Tensor]):
        self.by_word = by_word

    def tokenizer(self, text: str) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        words = [[w.strip(".,") for w in t.split()] for t in texts]
        rows = [sum((v for w, v in self.by_word.items() if w in of), torch.zeros(64)) for of in words]
        return F.normalize(torch.stack([r if bool(r.any()) else torch.ones(64) for r in rows]), dim=-1)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, np.ndarray, Tensor]:
    """Handwriting as directions, its classes, and their means."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    items = F.normalize(torch.from_numpy(x).float(), dim=-1)[:900]
    return items, y[:900], F.normalize(torch.stack([items[y[:900] == c].mean(0) for c in range(10)]), dim=-1)


def vocabulary_of(names: list[str]) -> Vocabulary:
    return Vocabulary(tuple(names), tuple((f"{n}#1",) for n in names), tuple((f"only {n}",) for n in names))


def bank_of(vocabulary: Vocabulary, vectors: Tensor) -> TextBank:
    return TextBank(vocabulary.names, tuple((n,) for n in vocabulary.names), vectors, 100.0, "sha")


@pytest.fixture(scope="module")
def named(digits: tuple[Tensor, np.ndarray, Tensor]) -> tuple[Vocabulary, TextBank]:
    """d0 to d9 among names that mean nothing."""
    g = torch.Generator().manual_seed(0)
    vocabulary = vocabulary_of([*(f"d{k}" for k in range(10)), *(f"x{k:02d}" for k in range(OTHERS))])
    vectors = torch.cat([digits[2], F.normalize(torch.rand(OTHERS, 64, generator=g), dim=-1)])
    return vocabulary, bank_of(vocabulary, vectors)


def test_handwriting_gets_its_names(
    digits: tuple[Tensor, np.ndarray, Tensor], named: tuple[Vocabulary, TextBank]
) -> None:
    items, y, _ = digits
    vocabulary, bank = named
    texts = Directions({f"d{k}": v for k, v in enumerate(digits[2])})
    settings = StructureSettings(clusters=10, starts=2)
    found = cvpr(items, bank, vocabulary, texts, settings)
    assert len(set(found.names)) == 10
    assert (found.labels == y).mean() > 0.8
    again = cvpr(items, bank, vocabulary, texts, settings)
    assert np.array_equal(found.labels, again.labels)
    bare = cvpr(items, bank, vocabulary, texts, settings, phrases=None)
    by_hand = structure(items, bank.vectors, bare.clusters)
    assert np.array_equal(bare.labels, by_hand.labels)
    assert np.array_equal(bare.names, bare.voted)
    centres = cvpr(items, bank, vocabulary, texts, StructureSettings(clusters=10, starts=2, vote=False), None)
    assert np.array_equal(centres.clusters, bare.clusters)
    assert len(set(centres.names)) == 10


def test_a_language_model_turns_names(digits: tuple[Tensor, np.ndarray, Tensor]) -> None:
    """The vote gives the first digit's items the wrong one of two near names; a phrase of the other sets it right."""
    items, y, means = digits
    zeros = items[y == 0]
    near = F.normalize(means[0] + 0.2 * means[1], dim=-1)
    vocabulary = vocabulary_of(["rug", "zero"])
    bank = bank_of(vocabulary, torch.stack([means[0], near]))
    texts = Directions({"round": means[0], "woven": means[8]})
    asked: list[str] = []

    def model(text: str) -> str:
        asked.append(text)
        return "rug#1: woven\nzero#1: round"

    def phrases(senses: Sequence[Sequence[Sense]]) -> list[list[Phrase]]:
        return [ask(model, of, repeats=3) if of else [] for of in senses]

    settings = StructureSettings(clusters=1, starts=1, phrases=1)
    found = cvpr(zeros, bank, vocabulary, texts, settings, phrases)
    assert found.candidates == [[0, 1]]  # some vote for the other
    assert [vocabulary.names[int(of[0])] for of in (found.voted, found.names)] == ["rug", "zero"]
    assert len(asked) == 3
    assert found.labels.tolist() == [int(found.names[0])] * len(zeros)


def test_centres_written_out() -> None:
    names = torch.eye(3)
    items = F.normalize(torch.tensor([[1.0, 0, 0], [1.0, 1.0, 0], [0, -1.0, 0.5]]), dim=-1)
    shares = centre_shares(items, names, np.array([0, 0, 1]), 3)
    first = F.normalize(items[:2].sum(0), dim=0)
    np.testing.assert_allclose(shares, [first.tolist(), [0, 0, 0.5 / np.sqrt(1.25)], [0, 0, 0]], atol=1e-6)


def test_what_is_refused(digits: tuple[Tensor, np.ndarray, Tensor], named: tuple[Vocabulary, TextBank]) -> None:
    items, _, _ = digits
    vocabulary, bank = named
    with pytest.raises(AudiokdError, match="71 clusters, and a vocabulary of 70 names"):
        cvpr(items, bank, vocabulary, Directions({}), StructureSettings(clusters=71))
    with pytest.raises(AudiokdError, match="12 clusters of 5 items"):
        cvpr(items[:5], bank, vocabulary, Directions({}), StructureSettings(clusters=12))
    with pytest.raises(AudiokdError, match="names are not the vocabulary's"):
        cvpr(items, bank.of(vocabulary.names[::-1]), vocabulary, Directions({}), StructureSettings(clusters=5))


def test_kept_in_words() -> None:
    vocabulary = vocabulary_of(["a", "b", "c"])
    found = Found(np.array([2, 0]), np.array([2, 0]), np.array([0, 1]), np.array([1, 0]), [[2, 1], [0]])
    about = describe(found, ["i", "j"], vocabulary)
    assert about["clusters"][0] == {"name": "c", "voted": "b", "candidates": ["c", "b"], "items": 1}
    assert about["items"]["j"] == {"cluster": 1, "name": "a"}
    back = read_back(about, ["j", "unread", "i"], vocabulary, "structure.json")
    assert (back.labels.tolist(), back.clusters.tolist()) == ([0, -1, 2], [1, -1, 0])
    assert (back.names.tolist(), back.voted.tolist(), back.candidates) == ([2, 0], [1, 0], [[2, 1], [0]])
    with pytest.raises(AudiokdError, match="is not of this vocabulary, or damaged: 'c'"):
        read_back(about, ["i"], vocabulary_of(["a", "b"]), "structure.json")


def test_senses_and_long_phrases(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("bank", "dog"), (("n1", "n2"), ("n3",)), (("land", "money"), ("",)))
    senses = senses_of(vocabulary, [1, 0])
    assert [(s.name, s.key, s.gloss) for s in senses] == [
        (1, "dog#1", ""),
        (0, "bank#1", "land"),
        (0, "bank#2", "money"),
    ]
    assert question_key(senses) == "bank#1 | bank#2 | dog#1"
    pair = load_pair(str(save_pair("clip", tmp_path)))
    found = embed_phrases(pair, vocabulary, [Phrase(1, "rain " * 40, 0.5), Phrase(1, "cat", 0.5)])
    assert found.shape == (2, 24)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))
    texts = ["a photo of a dog, cat.", "cat, a photo of a dog."]
    with torch.no_grad():
        by_hand = F.normalize(pair.embed_texts(texts).mean(0), dim=-1)
    torch.testing.assert_close(found[1], by_hand)
    assert embed_phrases(pair, vocabulary, []).shape == (0, 24)
