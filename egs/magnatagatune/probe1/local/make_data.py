"""MagnaTagATune to Kaldi data dirs: `make_data.py ANNOTATIONS AUDIO DATA`, with AUDIO/{0..9,a..f}/*.mp3.

ANNOTATIONS is annotations_final.csv: tab separated, a clip_id, a column a tag with 0 or 1, an mp3_path such as
f/name.mp3. The fifty commonest tags are kept, as in MARBLE, and clips with none of them, too. The folders are the
split.
"""

import sys
from collections import Counter
from pathlib import Path

from audiokd.data.labelled import Clip, listed_file, one_word, run, table_rows, write_task
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

FOLDERS = {"train": "0123456789ab", "dev": "c", "test": "def"}
TAGS = 50
#: published with no byte in them
EMPTY = {
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
}


def main(annotations: str, audio: str, data: str) -> None:
    tags_of: dict[str, tuple[str, list[str]]] = {}
    counts: Counter[str] = Counter()
    for where, row in table_rows(Path(annotations), ("clip_id", "mp3_path")):
        name = row.pop("mp3_path")
        del row["clip_id"]
        wrong = next((tag for tag, is_there in row.items() if is_there not in ("0", "1")), None)
        if wrong is not None:
            raise AudiokdError(f"{wrong!r} is {row[wrong]!r}, not 0 or 1", where=where)
        tags_of[name] = where, [tag for tag, is_there in row.items() if is_there == "1"]
        counts.update(tags_of[name][1])  # of the clips that cannot be heard, too: the tags are MARBLE's
    kept = sorted(counts, key=lambda tag: (-counts[tag], tag))[:TAGS]
    splits: dict[str, list[Clip]] = {split: [] for split in FOLDERS}
    left_out = 0
    for name, (where, tags) in tags_of.items():
        path = Path(audio) / name
        if name in EMPTY and not (path.is_file() and path.stat().st_size):
            left_out += 1
            continue
        split = next((s for s, folders in FOLDERS.items() if name[:1] in folders and name[1:2] == "/"), None)
        if split is None:
            raise AudiokdError(f"{name!r} is in none of the folders 0 to f", where=where)
        listed_file(path, where, "unpack mp3.zip.001 to .003, joined, whole")
        utterance = Utterance(one_word(name.removesuffix(".mp3").replace("/", "-")), str(path))
        splits[split].append(Clip(utterance, tuple(one_word(t) for t in kept if t in tags)))
    if left_out:
        print(f"left out: {left_out} clips that are published empty", file=sys.stderr)
    write_task(Path(data) / "tags", splits)


if __name__ == "__main__":
    run(main)
