"""Examples to packed batches, and batches to a trainer; each a pure function of (seed, step)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from audiokd.data.crops import rng_of
from audiokd.errors import AudiokdError
from audiokd.methods.speech_lm.delay import EMPTY
from audiokd.methods.speech_lm.examples import KINDS, Example, example
from audiokd.methods.speech_lm.pairs import PairSet
from audiokd.methods.speech_lm.settings import PairSettings
from audiokd.methods.speech_lm.vocabulary import Vocabulary
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import RunSettings


def pack(examples: list[Example], length: int) -> dict[str, Any]:
    """Examples side by side in as few rows as first-fit finds, the longest first.

    Args:
        examples: at least one.
        length: tokens of a row at least; the longest example decides where it is longer.

    Returns:
        tokens, labels [R, L, Q] (EMPTY where there is none); owner [R, L], the number of the example that a step is of,
        -1 for padding; positions [R, L], each example's own; target [R, L], whether a step is of the
        target; kinds [N], characters [N], seconds [N], ids.
    """
    length = max(length, max(len(e.tokens) for e in examples))
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(examples)), key=lambda i: -len(examples[i].tokens)):  # a stable sort: ties by order
        size = len(examples[i].tokens)
        r = next((r for r, free in enumerate(room) if free >= size), len(rows))
        if r == len(rows):
            rows.append([])
            room.append(length)
        rows[r].append(i)
        room[r] -= size
    width, streams = length - min(room), examples[0].tokens.shape[1]
    tokens = np.full((len(rows), width, streams), EMPTY, dtype=np.int64)
    labels = tokens.copy()
    owner = np.full((len(rows), width), -1, dtype=np.int64)
    positions, target = np.zeros(owner.shape, dtype=np.float32), np.zeros(owner.shape, dtype=bool)
    for r, row in enumerate(rows):
        at = 0
        for i in row:
            e = examples[i]
            part = slice(at, at + len(e.tokens))
            tokens[r, part], labels[r, part], owner[r, part] = e.tokens, e.labels, i
            positions[r, part] = e.positions
            target[r, part.start + e.start : part.stop] = True
            at = part.stop
    arrays = {"tokens": tokens, "labels": labels, "owner": owner, "positions": positions, "target": target}
    return {
        **{k: torch.from_numpy(v) for k, v in arrays.items()},
        "kinds": torch.tensor([KINDS.index(e.kind) for e in examples]),
        "characters": torch.tensor([e.characters for e in examples]),
        "seconds": torch.tensor([e.seconds for e in examples], dtype=torch.float32),
        "ids": [e.id for e in examples],
    }


class PairDataset:
    """Examples of a `PairSet`, indexed by (step, index); the step draws direction and source.

    Args:
        pairs: utterances with texts.
        vocab: the vocabulary.
        settings: configuration.
        seed: of the draws; None takes an explicit kind as (kind, index), for validation.

    Attributes:
        too_long: utterances left out for `settings.max_length`.

    Raises:
        AudiokdError: that is all of them.
    """

    def __init__(self, pairs: PairSet, vocab: Vocabulary, settings: PairSettings, seed: int | None):
        self.store, self.vocab, self.settings, self.seed = pairs.store, vocab, settings, seed
        texts = vocab.encode([p.text for p in pairs.pairs])
        size = [len(t) + p.frames + vocab.streams + 3 for t, p in zip(texts, pairs.pairs)]
        kept = [i for i, n in enumerate(size) if n <= settings.max_length]
        self.pairs, self.texts = [pairs.pairs[i] for i in kept], [texts[i] for i in kept]
        self.too_long = len(texts) - len(kept)
        if not kept:
            raise AudiokdError(
                f"all {len(texts)} utterances are longer than {settings.max_length} tokens",
                where=str(pairs.store.path),
                fix="raise data.max_length",
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[Any, int]) -> Example:
        step, index = key
        pair = self.pairs[index]
        kind = self._kind(step, pair.id) if self.seed is not None else step
        told, codes = self.texts[index], self.store[pair.id].array
        n, s = len(pair.text), pair.seconds
        return example(kind, told, codes, self.vocab, id=pair.id, characters=n, seconds=s)

    def _kind(self, step: int, utt_id: str) -> str:
        alone, side = rng_of(self.seed, "kind", step, utt_id).random(2)
        kinds = ("speech", "text") if alone < self.settings.unconditional else ("tts", "stt")
        return kinds[int(side >= self.settings.tts_share)]


class PairDataModule(StepDataModule):
    """Packed batches to train on; both directions of each utterance to validate on.

    Args:
        train, dev: utterances with texts.
        vocab: the vocabulary.
        settings, run: configuration.
    """

    def __init__(self, train: PairSet, dev: PairSet, vocab: Vocabulary, settings: PairSettings, run: RunSettings):
        train_set, dev_set = PairDataset(train, vocab, settings, run.seed), PairDataset(dev, vocab, settings, None)
        super().__init__(train_set, dev_set, partial(pack, length=settings.pack_length), settings, run)
        for name, pairs, data in (("train", train, train_set), ("dev", dev, dev_set)):
            without = f"{pairs.without_text} without a text, {data.too_long} too long"
            print(f"{name}: {len(data)} utterances; left out: {without}")

    def val_keys(self, rank: int, world_size: int) -> list[tuple[Any, int]]:
        count = min(len(self.dev_set), self.settings.val_utterances)
        return [(kind, i) for kind in KINDS[:2] for i in range(rank, count, world_size)]
