"""MTG-Jamendo to Kaldi data dirs: `make_data.py REPOSITORY AUDIO DATA`, with AUDIO/41/241.mp3 or AUDIO/41/241.low.mp3.

REPOSITORY is mtg-jamendo-dataset; its data/splits/split-0 has lists of lines with tabs between fields: TRACK_ID,
ARTIST_ID, ALBUM_ID, PATH, DURATION, and then as many tags as the track has. DATA/train and DATA/dev are for pretraining
and have no labels: autotagging-train and -validation, in pieces of 30 s or a little less. Tasks are the four lists of
one kind of tags each.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labelled import Clip, listed_file, number, run, write_task
from audiokd.data.text import read_utf8
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

TASKS = ("genre", "instrument", "moodtheme", "top50tags")
LISTS = {"train": "train", "dev": "validation", "test": "test"}
COLUMNS = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
PIECE_S = 30.0  # a longer track is cut, so that each of its parts is seen as often as a short one


class Track(NamedTuple):
    """A line of a list."""

    id: str
    path: Path
    seconds: float
    tags: tuple[str, ...]


def main(repository: str, audio: str, data: str) -> None:
    lists, root = Path(repository) / "data" / "splits" / "split-0", Path(audio)
    heard = {s: list(tracks(lists / f"autotagging-{LISTS[s]}.tsv", root)) for s in ("train", "dev")}
    trained_on = {t.id for t in heard["train"]}
    for task in TASKS:
        found = {s: list(tracks(lists / f"autotagging_{task}-{name}.tsv", root)) for s, name in LISTS.items()}
        for split in ("dev", "test"):
            both = sorted(trained_on & {t.id for t in found[split]})
            if both:
                fix = "are the lists of one split?"
                raise AudiokdError(
                    f"{both[0]} is in {split} of {task}, too", where=f"{lists}: autotagging-train", fix=fix
                )
        clips = {s: [Clip(Utterance(t.id, str(t.path)), t.tags) for t in of] for s, of in found.items()}
        write_task(Path(data) / task, clips)
    for split, of in heard.items():
        write_data_dir(Path(data) / split, [u for t in of for u in pieces(t)])
        print(f"{data}/{split}: {len(of)} tracks without labels, {sum(t.seconds for t in of) / 3600:.2f} h")


def tracks(path: Path, audio: Path) -> Iterator[Track]:
    """The lines of a list."""
    header, *lines = read_utf8(path, "a list of mtg-jamendo-dataset").splitlines() or [""]
    if header.split("\t") != COLUMNS:
        raise AudiokdError(f"its columns are not {', '.join(COLUMNS)}", where=f"{path}:1")
    for line, text in enumerate(lines, 2):
        where = f"{path}:{line}"
        track, _, _, name, duration, *tags = text.split("\t") if text.count("\t") > 4 else [""] * 5
        if not tags:
            raise AudiokdError(f"{text.count(chr(9)) + 1} fields, a track with a tag has 6 or more", where=where)
        file = audio / name
        if not file.is_file():
            file = file.with_suffix(".low.mp3")
        fix = "scripts/download/download.py of mtg-jamendo-dataset, --dataset raw_30s, fetches all, audio or audio-low"
        listed_file(file, where, fix)
        yield Track(track, file, number(duration, "the duration", where), tuple(tags))


def pieces(track: Track) -> list[Utterance]:
    """A track's parts of equal length. Durations are rounded: the last part goes to the end, whatever that is."""
    n = max(1, int(-(-track.seconds // PIECE_S)))
    marks = [round(track.seconds * k / n, 3) for k in range(n)]
    return [
        Utterance(f"{track.id}-{k:03d}", str(track.path), start_s=start, end_s=end, recording_id=track.id)
        for k, (start, end) in enumerate(zip(marks, [*marks[1:], None]))
    ]


if __name__ == "__main__":
    run(main)
