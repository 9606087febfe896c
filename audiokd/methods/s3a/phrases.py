r"""What tells a cluster's candidate names apart (S3A, arXiv 2308.12960; CVPR's third and fourth steps: prompt, re-align).

Of each cluster the names with the most votes are candidates, each with all its senses. A language model is asked for phrases that
tell these senses apart, several times; a phrase weighs as often as it comes. Every item of the cluster chooses the phrases that are
nearest to it, and a name gets the weight of those that were chosen for its senses. The clusters then get names by these scores, no
two the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audiokd.errors import AudiokdError
from audiokd.methods.s3a.structure import Structure, nearest_names, one_name_each

#: of the vote's shares in the scores, so that they decide where phrases do not
TIE = 1e-4
#: answers, one a call: what is asked -> text with a line "sense: phrase; phrase; ..." for each sense
LanguageModel = Callable[[str], str]


@dataclass(frozen=True)
class Sense:
    """One meaning of a name.

    Attributes:
        name: number in the vocabulary.
        key: what it is called in questions and answers, such as bank.n.01.
        gloss: what it means.
    """

    name: int
    key: str
    gloss: str


@dataclass(frozen=True)
class Phrase:
    """Text of a sense with its weight: of all phrases of a cluster they sum to 1."""

    name: int
    text: str
    weight: float


def candidates(shares: np.ndarray, count: int = 3) -> list[list[int]]:
    """Of each cluster the `count` names with the greatest `shares` [K, V], the first of equals first; none without a vote."""
    order = np.argsort(-shares, axis=1, kind="stable")[:, :count]
    return [[int(v) for v in row if shares[k, v] > 0] for k, row in enumerate(order)]


def question(senses: Sequence[Sense]) -> str:
    """What a language model is asked of one cluster."""
    listed = "\n".join(f"- {s.key}: {s.gloss}" for s in senses)
    return (
        "Here are some things and what they mean:\n"
        f"{listed}\n\n"
        "For each of them give short phrases for what can be seen or heard of it and tells it apart from the others. "
        "Give no phrase for two of them. Answer with one line for each and nothing else, its phrases parted by semicolons. For "
        "oak.n.01 and fir.n.01 that would be:\n"
        "oak.n.01: broad crown; lobed leaves; acorns\n"
        "fir.n.01: needles all year; upright cones; a narrow crown"
    )


def read_answer(text: str, senses: Sequence[Sense]) -> dict[str, list[str]]:
    """Phrases by sense.

    Raises:
        AudiokdError: a sense has no line, or no phrase in it.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, rest = line.strip(" \t-*").partition(":")
        phrases = [p for p in (re.sub(r"\s+", " ", p).strip(" .") for p in rest.split(";")) if p]
        if colon and phrases:
            found.setdefault(key.strip(), []).extend(phrases)
    if lacking := [s.key for s in senses if s.key not in found]:
        raise AudiokdError(f"the answer has no phrases for {', '.join(lacking)}: {text.strip()[:120]!r}")
    return {s.key: found[s.key] for s in senses}


def ask(model: LanguageModel, senses: Sequence[Sense], repeats: int = 3, attempts: int = 5) -> list[Phrase]:
    """A cluster's phrases. Each of a sense weighs as often as it came in `repeats` answers, all senses the same together.

    Args:
        model: answers a question.
        senses: of the cluster's candidates.
        repeats: answers that are wanted.
        attempts: for each, until every sense has phrases.

    Raises:
        AudiokdError: an answer that cannot be used, `attempts` times over.
    """
    counts: dict[str, Counter[str]] = {s.key: Counter() for s in senses}
    for _ in range(repeats):
        for attempt in range(attempts):
            try:
                answer = read_answer(model(question(senses)), senses)
                break
            except AudiokdError as e:
                if attempt == attempts - 1:
                    what = f"no answer that can be used, {attempts} times; the last: {e.what}"
                    raise AudiokdError(what, fix="use another model, or the glosses") from e
        for key, phrases in answer.items():
            counts[key].update(dict.fromkeys(phrases, 1))
    return _weighted(senses, counts)


def of_glosses(senses: Sequence[Sense]) -> list[Phrase]:
    """The same without a language model: the parts of each gloss, cut at semicolons."""
    parts = {s.key: [p for p in (q.strip() for q in s.gloss.split(";")) if p] or [s.key] for s in senses}
    return _weighted(senses, {key: Counter(dict.fromkeys(of, 1)) for key, of in parts.items()})


def _weighted(senses: Sequence[Sense], counts: Mapping[str, Counter[str]]) -> list[Phrase]:
    return [
        Phrase(s.name, text, n / counts[s.key].total() / len(senses))
        for s in senses
        for text, n in sorted(counts[s.key].items())
    ]


def realign(
    items: Tensor, names: Tensor, found: Structure, phrases: Sequence[Sequence[Phrase]], texts: Sequence[Tensor],
    nearest: int = 3,
) -> Structure:  # fmt: skip
    """New names for the clusters by what their items chose, and every item's nearest of these.

    Args:
        items: embeddings [N, D].
        names: of the vocabulary [V, D].
        found: by votes; its clusters are the ones that are named.
        phrases: of each cluster; none where it has no candidates.
        texts: their embeddings [P, D] of each cluster, of length 1 as all.
        nearest: phrases that an item chooses.

    Returns:
        `labels`, `names` and `clusters` as of a vote; `shares` are the names' scores, which sum to 1: of a cluster with no more
        phrases than an item chooses, or without items, those of the vote.

    Raises:
        ValueError: another number of texts than of phrases.
    """
    scores = np.zeros_like(found.shares)
    for k, (of, vectors) in enumerate(zip(phrases, texts, strict=True)):
        if len(of) != len(vectors):
            raise ValueError(f"cluster {k} has {len(of)} phrases and {len(vectors)} embeddings")
        members = torch.from_numpy(np.flatnonzero(found.clusters == k)).to(items.device)
        if len(of) <= nearest or not len(members):  # every phrase would be chosen by all, which says nothing
            scores[k] = found.shares[k]
            continue
        chosen = (items[members] @ vectors.T).topk(min(nearest, len(of))).indices.flatten().cpu().numpy()
        hits = np.bincount(chosen, minlength=len(of))
        for phrase, n in zip(of, hits):
            scores[k, phrase.name] += phrase.weight * n
        scores[k] /= max(scores[k].sum(), np.finfo(np.float32).tiny)
        scores[k] += TIE * found.shares[k]
    chosen_names = one_name_each(scores)
    clusters = nearest_names(items, names[torch.from_numpy(chosen_names).to(names.device)])
    return Structure(chosen_names[clusters], chosen_names, scores, found.clusters)
