"""Ratings of movies by users: a data dir with ratings.tsv, a line `user movie rating` each below a header, tabs between."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from audiokd.data.items import Item
from audiokd.data.labelled import number, table_rows
from audiokd.errors import AudiokdError
from audiokd.files import write_text

RATINGS = "ratings.tsv"  # its name in a data dir
COLUMNS = ("user", "movie", "rating")


class Rating(NamedTuple):
    """What a user thinks of a movie.

    Attributes:
        user, movie: names.
        rating: of the movie.
    """

    user: str
    movie: str
    rating: float

    @property
    def id(self) -> str:
        """Unique in a set: nobody rates a movie twice. A slash in the user's name is written %2F, so that one alone is between."""
        return f"{self.user.replace('%', '%25').replace('/', '%2F')}/{self.movie}"

    @property
    def item(self) -> Item:
        """For the data regime."""
        return Item(self.id, f"{RATINGS}/{self.id}", f"{self.rating:g}")


def holds_ratings(path: str | os.PathLike[str]) -> bool:
    """Whether it is a data dir of ratings."""
    return (Path(path) / RATINGS).is_file()


def read_ratings(path: str | os.PathLike[str]) -> list[Rating]:
    """Ratings of a data dir, in the order of the file.

    Raises:
        AudiokdError: no such file, none in it; and, with file:line, a row that is none, a rating that is no number, a movie that a
            user has rated before.
    """
    file, found, lines = Path(path) / RATINGS, [], dict[str, str]()
    for where, row in table_rows(file, COLUMNS, quoted=False):
        if not row["user"] or not row["movie"]:
            raise AudiokdError("no user, or no movie", where=where)
        rating = Rating(row["user"], row["movie"], number(row["rating"], "the rating", where))
        if lines.setdefault(rating.id, where) != where:
            what = f"user {rating.user} has rated movie {rating.movie} in {lines[rating.id]}"
            raise AudiokdError(what, where=where, fix="leave one of them")
        found.append(rating)
    if not found:
        raise AudiokdError("holds no rating", where=str(file))
    return found


def write_ratings(path: str | os.PathLike[str], ratings: Iterable[Rating]) -> None:
    """Write ratings.tsv into the data dir `path`, which is made."""
    Path(path).mkdir(parents=True, exist_ok=True)
    rows = ["\t".join(COLUMNS), *(f"{r.user}\t{r.movie}\t{r.rating:g}" for r in ratings)]
    write_text(Path(path) / RATINGS, "".join(f"{row}\n" for row in rows))
