"""Drum one-shots of Hydrogen's kits and of Sonic Pi to Kaldi data dirs: `make_data.py DOWNLOADS DATA`.

Each is mono at 16 kHz, its first SECONDS, faded over the last FADE_S where it is longer: what the diffusion model makes. Classes
are from file names. A drum's layers and takes (a name but for its numbers and loudness) are in one split: 6, 1 and 3 tenths.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile as sf

sys.path.insert(0, str(Path(__file__).parents[3] / "debian_sounds" / "ssl1" / "local"))
from make_data import DRUMS, FORMATS, ROOTS, SPLITS, share

from audiokd.data.audio import load_at, write_wav
from audiokd.data.kaldi import write_data_dir
from audiokd.data.labels import LABELS, write_labels
from audiokd.data.utterance import Utterance

RATE, SECONDS, FADE_S, SILENT = 16_000, 1.024, 0.05, 1e-3
#: how kits and packs name them besides
MORE = {
    "hihat": r"^hh\d?_",
    "snare": r"^sn\d?_",
    "tom": r"^tm\d?_",
    "cymbal": r"^rd\d?_|cymbal",
    "kick": r"bass_(hard|soft)",
}
LOUDNESS = r"hardest|softest|hard|soft|medium|med|[\d_ .-]+"


def drum_of(stem: str) -> str | None:
    """Class by the name of a file."""
    return next((d for d, p in DRUMS.items() if re.search(f"{p}|{MORE[d]}", stem.lower())), None)


def cut(wav: np.ndarray) -> np.ndarray:
    """From where it begins to sound."""
    x = wav[int(np.argmax(np.abs(wav) > SILENT)) :][: round(SECONDS * RATE)].copy()
    if len(wav) > len(x):
        n = min(len(x), round(FADE_S * RATE))
        x[len(x) - n :] *= np.linspace(1, 0, n)
    return x


def main(downloads: str, data: str) -> None:
    found: dict[str, list[tuple[Utterance, str]]] = {s: [] for s in SPLITS}
    for source in ("drums", "sonic"):
        root = Path(downloads) / ROOTS[source]
        if not root.is_dir():
            sys.exit(f"error: no {root}")
        for path in sorted(p for p in root.rglob("*") if p.suffix in FORMATS):
            drum = drum_of(path.stem)
            if drum is None or sf.info(path).duration > 30:
                continue
            name = re.sub(r"[^\w.-]+", "_", "-".join((source, *path.relative_to(root).with_suffix("").parts)))
            x = cut(load_at(Utterance(name, str(path)), RATE))
            if np.abs(x).max() < 10 * SILENT:
                print(f"{path}: left out, silent")
                continue
            key = share(f"{source}/{path.parent.name}/{re.sub(LOUDNESS, '', path.stem.lower())}")
            split = "train" if key < 0.6 else "dev" if key < 0.7 else "test"
            out = Path(data) / split / "wav" / f"{name}.wav"
            out.parent.mkdir(parents=True, exist_ok=True)
            write_wav(out, x, RATE)
            found[split].append((Utterance(name, str(out.resolve())), drum))
    for split, rows in found.items():
        write_data_dir(Path(data) / split, [u for u, _ in rows])
        write_labels(Path(data) / split / LABELS, {u.id: (drum,) for u, drum in rows})
        counts = Counter(drum for _, drum in rows)
        print(f"{data}/{split}: {len(rows)}; " + ", ".join(f"{n} {d}" for d, n in sorted(counts.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
