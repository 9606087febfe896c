"""The music of some Debian packages to Kaldi data dirs: `make_data.py DOWNLOADS DATA`.

DATA/train and DATA/dev are for pretraining and have no labels: an orchestra's game music, music on hold, loops, drums. Tasks, each
with {train,dev,test}: drums (of one-shots, kits are split), samples (what a sample pack calls its sounds) and tracks (which piece
of game music 10 s are of: its first six tenths train, the next two choose, the last two test). No dev or test sound of a task is
in DATA/train.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import soundfile as sf

sys.path.insert(0, str(Path(__file__).parents[3] / "debian_sounds" / "ssl1" / "local"))
from make_data import FORMATS, ROOTS, SHORTEST_S, SPLITS, drums, pieces, share

from audiokd.data.crops import duration_of
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

SOURCES = {k: ROOTS[k] for k in ("drums", "sonic", "music")} | {
    "hold": "asterisk-moh-opsound-wav/usr/share/asterisk/moh",
}
#: decodes to 0.13 s less than its header says: where they are lacking nobody knows, so that a part of it may be another
DEFECTIVE = {"northerners.ogg"}
#: sounds of a kind that a sample pack needs for it to be a class
FEWEST = 8
PART_S = 10.0
DEV_SHARE = 0.03


def main(downloads: str, data: str) -> None:
    sounds: dict[str, Path] = {}
    for source, pattern in SOURCES.items():
        root = Path(downloads) / pattern
        if not root.is_dir():
            sys.exit(f"error: no {root}")
        for path in sorted(p for p in root.rglob("*") if p.suffix in FORMATS):
            if path.name in DEFECTIVE:
                print(f"{path}: left out, it ends before its header says")
            elif sf.info(path).duration >= SHORTEST_S:
                name = re.sub(r"[^\w.-]+", "_", "-".join(path.relative_to(root).with_suffix("").parts))
                sounds[f"{source}-{name}"] = path
    held_out = set()
    for task, rows in (("drums", drums(sounds)), ("samples", samples(sounds))):
        for split in SPLITS:
            labels = {i: (label,) for i, (where, label) in rows.items() if where == split}
            write(Path(data) / task / split, [Utterance(i, str(sounds[i])) for i in sorted(labels)], labels)
            held_out |= labels.keys() if split != "train" else set()
        say(f"{data}/{task}", Counter(where for where, _ in rows.values()))
    heard, parts = [], {s: [] for s in SPLITS}
    for name, path in sounds.items():
        if not name.startswith("music-"):
            heard += pieces(name, path) if name not in held_out else []
            continue
        for utt, split in tracks(name, path):
            parts[split].append((utt, name.removeprefix("music-")))
            heard += [utt] if split == "train" else []
    for split, of in parts.items():
        write(Path(data) / "tracks" / split, [u for u, _ in of], {u.id: (label,) for u, label in of})
    say(f"{data}/tracks", {s: len(of) for s, of in parts.items()})
    chosen = {u.id for u in heard if share(u.id) < DEV_SHARE}
    for split, mine in (("train", False), ("dev", True)):
        write_data_dir(Path(data) / split, [u for u in heard if (u.id in chosen) == mine])
    print(f"{data}: {len(heard)} pieces without labels, {sum(map(duration_of, heard)) / 3600:.2f} h, {len(chosen)} dev")


def write(folder: Path, utterances: list[Utterance], labels: dict[str, tuple[str, ...]]) -> None:
    write_data_dir(folder, utterances)
    write_labels(folder / LABELS, labels)


def say(task: str, counts: dict[str, int]) -> None:
    print(f"{task}: " + ", ".join(f"{s} {counts[s]}" for s in SPLITS))


def samples(sounds: dict[str, Path]) -> dict[str, tuple[str, str]]:
    """Split and kind of the pack's sounds, which their names begin with; each kind's sounds are dealt in turn."""
    kinds: dict[str, list[str]] = {}
    for name in sorted((n for n in sounds if n.startswith("sonic-")), key=share):
        kinds.setdefault(name.split("-")[1].split("_")[0], []).append(name)
    deal = ("train", "test", "train", "dev", "train")
    return {n: (deal[k % 5], kind) for kind, of in kinds.items() if len(of) >= FEWEST for k, n in enumerate(of)}


def tracks(name: str, path: Path) -> list[tuple[Utterance, str]]:
    """Parts of 10 s of a piece and the split of each; a part between two splits is nobody's."""
    n = int(sf.info(path).duration // PART_S)
    found = []
    for k in range(n):
        where = (k + 0.5) / n
        split = "train" if where < 0.6 else "dev" if where < 0.8 else "test"
        alone = k == 0 or (k - 0.5) / n >= (0.0 if split == "train" else 0.6 if split == "dev" else 0.8)
        if alone:  # the first part of dev and of test goes on from what was trained on
            found.append((Utterance(f"{name}-{k:02d}", str(path), start_s=k * PART_S, end_s=(k + 1) * PART_S), split))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
