"""MovieLens to data dirs of ratings: `make_data.py CORPUS DATA GENRE`.

A rating is in one of three parts by a hash of its user and movie: 8 tenths train, 1 dev, 1 test. DATA/teacher and
DATA/teacher-dev are the first two of all movies; DATA/train, DATA/dev and DATA/test are all three of movies of GENRE.
"""

from pathlib import Path

from audiokd.data.labelled import run, share
from audiokd.data.movielens import read_movielens
from audiokd.data.ratings import Rating, write_ratings
from audiokd.errors import AudiokdError


def part_of(rating: Rating) -> str:
    key = share(rating.id)
    return "train" if key < 0.8 else "dev" if key < 0.9 else "test"


def main(corpus: str, data: str, genre: str) -> None:
    ratings, genres = read_movielens(corpus)
    known = sorted({g for of in genres.values() for g in of})
    if genre not in known:
        raise AudiokdError(f"no movie of the genre {genre}", where=corpus, fix=f"one of {', '.join(known)}")
    sets: dict[str, list[Rating]] = {n: [] for n in ("teacher", "teacher-dev", "train", "dev", "test")}
    for rating in ratings:
        part = part_of(rating)
        if part != "test":
            sets["teacher" if part == "train" else "teacher-dev"].append(rating)
        if genre in genres[rating.movie]:
            sets[part].append(rating)
    for name, of in sets.items():
        if not of:
            raise AudiokdError("no rating", where=f"{data}/{name}", fix="a larger release, or another genre")
        write_ratings(Path(data) / name, of)
        users, movies = len({r.user for r in of}), len({r.movie for r in of})
        print(f"{data}/{name}: {len(of)} ratings of {movies} movies by {users} users")


if __name__ == "__main__":
    run(main)
