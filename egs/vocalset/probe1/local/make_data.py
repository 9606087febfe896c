"""VocalSet to Kaldi data dirs: `make_data.py FULL DATA`, with FULL/<singer>/<context>/<technique>/*.wav.

As in MARBLE a recording is heard in clips of 3 s, and what is over is left out. Task technique: the ten techniques that
the corpus' paper tells apart, five singers test. Task singer: all seventeen techniques. No recording is in two splits.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from audiokd.data.labelled import Clip, one_word, run, seconds_of, share, write_task
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

TECHNIQUES = (
    "belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry",
)  # fmt: skip
OTHER = ("fast_forte", "fast_piano", "forte", "messa", "pp", "slow_forte", "slow_piano")
TEST_SINGERS = ("f2", "f8", "m3", "m5", "m10")
#: a copy of another, and what the paper's table of recordings lacks: MARBLE leaves them out
EXTRA = {"f2_scales_vibrato_a(1)", "caro_vibrato", "dona_vibrato", "row_vibrato", "slow_vibrato_arps"}
CLIP_S = 3.0
DEV_SHARE, TEST_SHARE = 0.4, 0.2


def main(full: str, data: str) -> None:
    root = Path(full)
    splits: dict[str, dict[str, list[Clip]]] = {
        t: {"train": [], "dev": [], "test": []} for t in ("technique", "singer")
    }
    left_out: Counter[str] = Counter()
    for path in sorted(root.glob("*/*/*/*.wav")):
        technique = path.parent.name
        if technique not in TECHNIQUES + OTHER:
            left_out[f"in folders of other names ({technique})"] += 1
        elif technique == "vibrato" and path.stem in EXTRA:
            left_out["that MARBLE leaves out"] += 1
        else:
            singer = singer_of(path, root)
            name = one_word("-".join(path.relative_to(root).with_suffix("").parts))
            clips = clips_of(path, name, singer)
            left_out["shorter than 3 s"] += not clips
            if technique in TECHNIQUES:
                test = singer in TEST_SINGERS
                split = "test" if test else "dev" if share(f"technique {name}") < DEV_SHARE else "train"
                splits["technique"][split] += [Clip(u, (technique,)) for u in clips]
            test = share(f"test {name}") < TEST_SHARE
            split = "test" if test else "dev" if share(f"singer {name}") < DEV_SHARE else "train"
            splits["singer"][split] += [Clip(u, (singer,)) for u in clips]
    for why, count in sorted(left_out.items()):
        if count:
            print(f"left out: {count} recordings {why}", file=sys.stderr)
    for task, of in splits.items():
        write_task(Path(data) / task, of)


def singer_of(path: Path, root: Path) -> str:
    """f1 to f9, m1 to m11: whom the file's name says, as MARBLE has it, or else the folder."""
    folder = path.relative_to(root).parts[0]
    match = re.fullmatch(r"(fe)?male(\d+)", folder)
    if not match:
        raise AudiokdError(
            f"{folder!r} is no singer", where=str(path), fix="folders female1 to female9, male1 to male11"
        )
    said = re.match(r"[fm]\d+(?=_)", path.stem)
    mine = f"{'f' if match[1] else 'm'}{match[2]}"
    if said and said[0] != mine:
        print(f"{path}: taken for {said[0]}'s, as its name says, not {mine}'s", file=sys.stderr)
    return said[0] if said else mine


def clips_of(path: Path, name: str, singer: str) -> list[Utterance]:
    """The whole clips of a recording."""
    n = int(seconds_of(path) // CLIP_S)
    cuts = [(k * CLIP_S, (k + 1) * CLIP_S) for k in range(n)]
    return [
        Utterance(f"{name}-{k:02d}", str(path), start_s=a, end_s=b, recording_id=name, speaker=singer)
        for k, (a, b) in enumerate(cuts)
    ]


if __name__ == "__main__":
    run(main)
