"""Training sets that one bad file does not stop: what cannot be read is named once, and its neighbour takes its place."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from audiokd.data.error_log import ErrorLog
from audiokd.data.items import Item
from audiokd.errors import AudioError, AudiokdError, FrameError, ImageError, VideoError

MAX_TRIES = 20


class ReplacingDataset(ABC):
    """Indexed by (step, index).

    An utterance or item that cannot be read is named once, on stderr and in the run's errors.jsonl. In training the next one in the
    corpus takes its place, so a bad file never stops a run and never changes what else is seen; in validation it is absent, for a
    neighbour that counts twice would be another score.

    Args:
        items: utterances or items.
        training: whether it is trained on, or else validated.
        errors: where what is unreadable is written down; without it stderr alone names it.
    """

    def __init__(self, items: Sequence[Any], training: bool, errors: ErrorLog | None = None):
        self.items, self.training, self.errors = items, training, errors
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """What `read` gives; None for one of a validation set that cannot be read."""
        step, index = key
        for attempt in range(MAX_TRIES if self.training else 1):
            item = self.items[(index + attempt) % len(self.items)]
            try:
                return self.read(item, step)
            except (AudioError, ImageError, FrameError, VideoError) as e:
                self._report(item, e)
        if not self.training:
            return None
        what = f"{MAX_TRIES} {'items' if isinstance(item, Item) else 'utterances'} in a row cannot be read"
        raise AudiokdError(what, where=item.where, fix="errors.jsonl in the run's folder says why of each")

    @abstractmethod
    def read(self, item: Any, step: int) -> Any:
        """What a step is given of an item.

        Raises:
            AudioError, ImageError, FrameError, VideoError: it cannot be read.
        """

    def _report(self, item: Any, error: AudiokdError) -> None:
        if item.id in self._reported:
            return
        self._reported.add(item.id)
        # of all processes the one that writes it down says so
        if self.errors is None or self.errors.add(item, error):
            part = "training" if self.training else "validation"
            print(f"left out of {part}: {error}", file=sys.stderr, flush=True)
