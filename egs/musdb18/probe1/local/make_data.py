"""MUSDB18-HQ to Kaldi data dirs: `make_data.py CORPUS DATA`, with CORPUS/{train,test}/<track>/{mixture,<stem>}.wav.

A data dir's wav.scp holds the mixtures; vocals.scp, drums.scp, bass.scp and other.scp beside it, `utterance-id path`,
the stems.
"""

import re
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.labelled import listed_file, run
from audiokd.data.stems import write_stems
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError

STEMS = ("vocals", "drums", "bass", "other")
#: validation_tracks of the musdb package (musdb/configs/mus.yaml)
DEV = {
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
}


def main(corpus: str, data: str) -> None:
    root = Path(corpus)
    found = {name: tracks(root / name) for name in ("train", "test")}
    missing = sorted(DEV - {t.name for t in found["train"]})
    if missing:
        raise AudiokdError(
            f"no {', '.join(missing)}", where=str(root / "train"), fix="dev is these; is the corpus whole?"
        )
    splits = {
        "train": [t for t in found["train"] if t.name not in DEV],
        "dev": [t for t in found["train"] if t.name in DEV],
        "test": found["test"],
    }
    for split, folders in splits.items():
        if not folders:
            raise AudiokdError("no track", where=f"{root}: {split}", fix="is the corpus whole?")
        out = Path(data) / "separation" / split
        ids = {re.sub(r"[^\w.-]+", "_", t.name): t for t in folders}
        if len(ids) < len(folders):
            raise AudiokdError("two tracks would have one id", where=f"{root}: {split}", fix="rename one of them")
        write_data_dir(out, [Utterance(i, str(wav_of(t, "mixture"))) for i, t in ids.items()])
        for stem in STEMS:
            write_stems(out, stem, {i: str(wav_of(t, stem)) for i, t in ids.items()})
    print(f"{data}/separation: {', '.join(f'{s} {len(t)}' for s, t in splits.items())} tracks")


def tracks(folder: Path) -> list[Path]:
    """The folders of a set's tracks."""
    coded = sorted(folder.glob("*.stem.mp4"))
    if coded:
        what = f"{len(coded)} tracks as .stem.mp4, which are not read"
        fix = "get MUSDB18-HQ (zenodo.org/record/3338373) or decode these: musdbconvert STEMS WAVS, of PyPI's musdb"
        raise AudiokdError(what, where=str(folder), fix=fix)
    return sorted(p for p in folder.glob("*") if p.is_dir())


def wav_of(track: Path, part: str) -> Path:
    return listed_file(track / f"{part}.wav", str(track), f"a track is mixture.wav and {', '.join(STEMS)}")


if __name__ == "__main__":
    run(main)
