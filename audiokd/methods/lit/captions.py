"""The captions of a run, each tokenised once: by number, the same for items that share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from audiokd.errors import AudiokdError


class Captions:
    """Texts by the ids of their items.

    Args:
        of_ids: caption by item id.
        tokenizer: of the text encoder.
        max_tokens: that it reads.

    Attributes:
        texts: different ones, sorted.

    Raises:
        AudiokdError: one that is longer than the encoder reads; its item is named.
    """

    def __init__(self, of_ids: Mapping[str, str], tokenizer: Any, max_tokens: int):
        self.texts = sorted(set(of_ids.values()))
        number = {text: k for k, text in enumerate(self.texts)}
        self._of_id = {id: number[text] for id, text in of_ids.items()}
        self._tokens: list[list[int]] = tokenizer(self.texts)["input_ids"]
        self._pad = tokenizer.pad_token_id
        for id, k in self._of_id.items():
            if (n := len(self._tokens[k])) > max_tokens:
                what = f"a caption of {n} tokens, the text encoder reads {max_tokens}: {self.texts[k][:60]!r}"
                raise AudiokdError(what, where=id, fix="shorten it, or take the item out of the list")

    def numbers(self, ids: Sequence[str]) -> Tensor:
        """[B] of the captions of items, in `texts`."""
        return torch.tensor([self._of_id[i] for i in ids])

    def inputs(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids` [N, T] of captions and `attention_mask` [N, T], padded on the right to the longest."""
        rows = [self._tokens[k] for k in numbers]
        size = max(map(len, rows))
        ids = torch.tensor([row + [self._pad] * (size - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (size - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}
