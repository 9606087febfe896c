"""MovieLens (https://doi.org/10.1145/2827872) as it is published: 100K (u.data, u.item), 1M (ratings.dat, movies.dat), and 100K in
RecBole's atomic files (ml-100k.inter, ml-100k.item)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from audiokd.data.labelled import number
from audiokd.data.ratings import Rating
from audiokd.errors import AudiokdError

#: genres of u.item's last columns, in their order (u.genre)
GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
#: files of ratings -> file of movies, separator, encoding, lines of header
LAYOUTS = {
    "u.data": ("u.item", "\t", "|", "latin-1", 0),
    "ratings.dat": ("movies.dat", "::", "::", "latin-1", 0),
    "ml-100k.inter": ("ml-100k.item", "\t", "\t", "utf-8", 1),
}


def read_movielens(folder: str | Path) -> tuple[list[Rating], dict[str, frozenset[str]]]:
    """Ratings, and each movie's genres.

    Args:
        folder: of the published files, in one of the three layouts.

    Raises:
        AudiokdError: none of them; and, with file:line, a row that is none, or a rating of a movie that is not listed.
    """
    root = Path(folder)
    name = next((n for n in LAYOUTS if (root / n).is_file()), None)
    if name is None:
        fix = "give the folder that holds u.data and u.item, or ratings.dat and movies.dat"
        raise AudiokdError(f"none of {', '.join(LAYOUTS)}", where=str(root), fix=fix)
    movies, between, of_movies, encoding, header = LAYOUTS[name]
    genres: dict[str, frozenset[str]] = {}
    for _, row in _rows(root / movies, of_movies, encoding, header, 24 if name == "u.data" else 3):
        if name == "u.data":
            genres[row[0]] = frozenset(g for g, flag in zip(GENRES, row[5:24], strict=True) if flag == "1")
        elif name == "ratings.dat":
            genres[row[0]] = frozenset(row[-1].split("|"))  # a title may have the separator in it
        else:
            genres[row[0]] = frozenset(row[-1].split(" "))
    found = []
    for where, row in _rows(root / name, between, encoding, header, 4):
        if row[1] not in genres:
            raise AudiokdError(f"movie {row[1]} is not in {movies}", where=where, fix="take both files of one release")
        found.append(Rating(row[0], row[1], number(row[2], "the rating", where)))
    return found, genres


def _rows(path: Path, separator: str, encoding: str, header: int, fields: int) -> Iterator[tuple[str, list[str]]]:
    try:
        text = path.read_text(encoding=encoding)
    except (OSError, UnicodeDecodeError) as e:
        raise AudiokdError(f"cannot be read: {e}", where=str(path), fix="take both files of one release") from e
    for k, line in enumerate(text.split("\n"), 1):
        if k <= header or not line.strip():
            continue
        row = line.rstrip("\r").split(separator)
        if len(row) < fields:
            raise AudiokdError(
                f"{len(row)} fields, {fields} are due", where=f"{path}:{k}", fix="is it the published file?"
            )
        yield f"{path}:{k}", row
