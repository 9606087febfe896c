"""Batches of ratings to train a recommender on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audiokd.data.ratings import Rating
from audiokd.training.datamodule import StepDataModule
from audiokd.training.settings import MediaSettings, RunSettings


class RatingDataModule(StepDataModule):
    """Ratings as each model numbers their users and movies.

    Args:
        train, dev: ratings.
        bodies: recommenders by the name of their view.
        settings, run: configuration.
    """

    def __init__(
        self,
        train: Sequence[Rating],
        dev: Sequence[Rating],
        bodies: dict[str, Any],
        settings: MediaSettings,
        run: RunSettings,
    ):
        super().__init__(Indexed(train), Indexed(dev[: settings.val_items]), self.batch_of, settings, run)
        self.bodies = bodies

    def batch_of(self, rows: Sequence[Rating]) -> dict[str, Any]:
        """`ids`, and `users` and `movies` [B] by the name of each view."""
        users, movies = [r.user for r in rows], [r.movie for r in rows]
        return {"ids": [r.id for r in rows]} | {k: b.view_of_names(users, movies) for k, b in self.bodies.items()}


class Indexed:
    """Ratings by (step, index)."""

    def __init__(self, rows: Sequence[Rating]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> Rating:
        return self.rows[key[1]]
