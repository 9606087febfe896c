"""emoMusic to Kaldi data dirs: `make_data.py ANNOTATIONS AUDIO DATA`, with AUDIO/<song id>.mp3.

ANNOTATIONS holds songs_info.csv (song_id, Artist, Mediaeval 2013 set) and static_annotations.csv (song_id,
mean_arousal, mean_valence). A song's values are valence and arousal; they have mean 0 and variance 1 over the
development set, as MARBLE's.
"""

import hashlib
import re
import statistics
from pathlib import Path

from audiokd.data.labelled import Clip, listed_file, number, run, table_rows, write_task
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

VALUES = ("mean_valence", "mean_arousal")


def main(annotations: str, audio: str, data: str) -> None:
    table = Path(annotations) / "static_annotations.csv"
    values: dict[int, tuple[float, ...]] = {}
    for where, row in table_rows(table, ("song_id", *VALUES), ","):
        values[song_id(row, where)] = tuple(number(row[v], v, where) for v in VALUES)
    songs: dict[int, tuple[str, Path]] = {}
    for where, row in table_rows(
        Path(annotations) / "songs_info.csv", ("song_id", "Artist", "Mediaeval 2013 set"), ","
    ):
        song = song_id(row, where)
        if song not in values:
            raise AudiokdError(f"song {song} is not in {table.name}", where=where)
        path = listed_file(Path(audio) / f"{song}.mp3", where, "unpack clips_45sec.tar.gz whole")
        is_test = row["Mediaeval 2013 set"].strip() == "evaluation"
        songs[song] = "test" if is_test else split_of(row["Artist"]), path
    known = [values[s] for s, (split, _) in songs.items() if split != "test"]
    if len(known) < 2:
        raise AudiokdError("no development set", where=f"{annotations}/songs_info.csv", fix="see Mediaeval 2013 set")
    scale = [(statistics.fmean(v), statistics.pstdev(v)) for v in zip(*known)]
    splits: dict[str, list[Clip]] = {"train": [], "dev": [], "test": []}
    for song, (split, path) in songs.items():
        labels = tuple(f"{(v - mean) / std:.6f}" for v, (mean, std) in zip(values[song], scale))
        splits[split].append(Clip(Utterance(f"{song:04d}", str(path)), labels))
    write_task(Path(data) / "emotion", splits)


def song_id(row: dict[str, str], where: str) -> int:
    if not row["song_id"].strip().isdecimal():
        raise AudiokdError(f"{row['song_id']!r} is no song id", where=where)
    return int(row["song_id"])


def split_of(artist: str) -> str:
    """Of an artist of the development set: eight tenths train, by a hash of the name's letters, as MARBLE does."""
    letters = " ".join("".join(re.findall(r"[a-z\s]", artist.strip().lower(), re.ASCII)).split())
    return "train" if int(hashlib.sha1(letters.encode()).hexdigest(), 16) % 10 < 8 else "dev"


if __name__ == "__main__":
    run(main)
