"""Cluster, vote, prompt, re-align: names for items that nobody labelled (S3A, arXiv 2308.12960), in one call.

structure.py votes, phrases.py prompts and re-aligns, estimate_k.py finds K; here they are joined and their result is kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from audiokd.data.classes import spoken
from audiokd.data.vocabulary import Vocabulary
from audiokd.errors import AudiokdError
from audiokd.methods.s3a.estimate_k import cluster, estimate_clusters
from audiokd.methods.s3a.phrases import Phrase, Sense, candidates, of_glosses, realign
from audiokd.methods.s3a.settings import StructureSettings
from audiokd.methods.s3a.structure import structure
from audiokd.teachers.text_bank import BATCH, TextBank

#: the senses of each cluster's candidates -> phrases of each cluster; none where there are no senses
Phrases = Callable[[Sequence[Sequence[Sense]]], list[list[Phrase]]]
#: a name and a phrase in one text, in both orders, which are averaged; by what is named
TEMPLATES: dict[str, tuple[str, ...]] = {
    "image": ("a photo of a {name}, {phrase}.", "{phrase}, a photo of a {name}."),
    "audio": ("this is a sound of {name}, {phrase}.", "{phrase}, this is a sound of {name}."),
}


@dataclass(frozen=True)
class Found:
    """What CVPR found.

    Attributes:
        labels: [N] the name of each item, its number in the vocabulary.
        names: [K] that of each cluster.
        clusters: [N] those of k-means.
        voted: [K] names before they were re-aligned.
        candidates: of each cluster.
    """

    labels: np.ndarray
    names: np.ndarray
    clusters: np.ndarray
    voted: np.ndarray
    candidates: list[list[int]]


def glosses(senses: Sequence[Sequence[Sense]]) -> list[list[Phrase]]:
    """Phrases of the vocabulary's own glosses, with no language model."""
    return [of_glosses(of) if of else [] for of in senses]


def cvpr(
    items: Tensor,
    bank: TextBank,
    vocabulary: Vocabulary,
    texts: Any,
    settings: StructureSettings,
    phrases: Phrases | None = glosses,
    seed: int = 0,
) -> Found:
    """Name `items` by the vocabulary.

    Args:
        items: embeddings [N, D] of length 1.
        bank: vectors of the vocabulary's names, in its order.
        vocabulary: names with senses and glosses.
        texts: the pair model of both (`audiokd.teachers.pair.ContrastivePair`).
        settings: K, rounds, candidates.
        phrases: what tells candidates apart; None leaves prompt and re-align out. With a language model:
            `lambda senses: [ask(model, of) if of else [] for of in senses]`.
        seed: of k-means.

    Raises:
        AudiokdError: fewer names or items than clusters, a bank of other names, what `phrases` raises.
    """
    if bank.names != vocabulary.names:
        raise AudiokdError("the text bank's names are not the vocabulary's", fix="make the bank with this vocabulary")
    s, array = settings, items.cpu().numpy()
    try:
        count = s.clusters or estimate_clusters(array, seed, s.least, s.most)
    except ValueError as e:
        raise AudiokdError(str(e), fix="--structure.least and --structure.most, or --structure.clusters K") from e
    if count > len(bank):
        what = f"{count} clusters, and a vocabulary of {len(bank)} names: no two clusters may have one name"
        raise AudiokdError(what, fix="a larger vocabulary, or a smaller --structure.clusters")
    if count > len(items):
        raise AudiokdError(f"{count} clusters of {len(items)} items", fix="a smaller --structure.clusters")
    clusters = cluster(array, count, seed, s.starts)
    vectors = bank.vectors.to(items.device)
    found = structure(items, vectors, clusters, s.rounds, s.vote, count)
    asked, voted = candidates(found.shares, s.candidates), found.names
    if phrases is not None:
        of = phrases([senses_of(vocabulary, names) for names in asked])
        embedded = [embed_phrases(texts, vocabulary, p).to(items.device) for p in of]
        found = realign(items, vectors, found, of, embedded, s.phrases)
    return Found(found.labels, found.names, clusters, voted, asked)


def senses_of(vocabulary: Vocabulary, names: Sequence[int]) -> list[Sense]:
    """All senses of some names; they are called name#1, name#2 in questions."""
    return [
        Sense(n, f"{vocabulary.names[n]}#{k}", gloss) for n in names for k, gloss in enumerate(vocabulary.glosses[n], 1)
    ]


def embed_phrases(texts: Any, vocabulary: Vocabulary, phrases: Sequence[Phrase]) -> Tensor:
    """Directions [P, D] of phrases with their names; words that the text model has no place for are left off their ends."""
    if not phrases:
        return torch.zeros(0, texts.dim)
    templates = TEMPLATES[texts.kind]
    written = [_fitting(texts, t, vocabulary.names[p.name], p.text) for p in phrases for t in templates]
    with torch.no_grad():
        each = torch.cat([texts.embed_texts(written[i : i + BATCH]).float() for i in range(0, len(written), BATCH)])
    return F.normalize(each.view(len(phrases), len(templates), -1).mean(1), dim=-1)


def _fitting(texts: Any, template: str, name: str, phrase: str) -> str:
    words = phrase.split()
    while True:
        text = template.format(name=spoken(name), phrase=" ".join(words))
        if len(words) < 2 or len(texts.tokenizer(text)["input_ids"]) <= texts.max_tokens:
            return text
        words.pop()


def question_key(senses: Sequence[Sense]) -> str:
    """What a question is filed under: its senses, sorted."""
    return " | ".join(sorted(s.key for s in senses))


def describe(found: Found, ids: Sequence[str], vocabulary: Vocabulary) -> dict[str, Any]:
    """As structure.json has it: names in words, and of each item its cluster by k-means and its name."""
    sizes = np.bincount(found.clusters, minlength=len(found.names))
    of = vocabulary.names
    return {
        "clusters": [
            {
                "name": of[name],
                "voted": of[voted],
                "candidates": [of[c] for c in asked],
                "items": int(size),
            }
            for name, voted, asked, size in zip(found.names, found.voted, found.candidates, sizes)
        ],
        "items": {i: {"cluster": int(c), "name": of[v]} for i, c, v in zip(ids, found.clusters, found.labels)},
    }


def read_back(
    about: dict[str, Any], ids: Sequence[str], vocabulary: Vocabulary, where: str | os.PathLike[str]
) -> Found:
    """What `describe` was given; an item that it does not have (which could not be read) has label and cluster -1.

    Raises:
        AudiokdError: names that are not in the vocabulary, or no such file.
    """
    number = {name: k for k, name in enumerate(vocabulary.names)}
    try:
        rows, items = about["clusters"], about["items"]
        names, voted = (np.array([number[r[key]] for r in rows], dtype=np.int64) for key in ("name", "voted"))
        asked = [[number[c] for c in r["candidates"]] for r in rows]
        labels = np.array([number[items[i]["name"]] if i in items else -1 for i in ids], dtype=np.int64)
        clusters = np.array([items[i]["cluster"] if i in items else -1 for i in ids], dtype=np.int64)
    except (KeyError, TypeError) as e:
        what = f"is not of this vocabulary, or damaged: {e}"
        raise AudiokdError(what, where=str(where), fix="delete it: it is made anew") from e
    return Found(labels, names, clusters, voted, asked)
