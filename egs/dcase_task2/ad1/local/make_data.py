"""Machine sounds of DCASE task 2 to log-mel pictures: `make_data.py ROOT DATA MACHINES MELS LOW HIGH`.

Clips lie in ROOT/<machine>/{train,test}; `normal` or `anomaly` is a word of the file's name (2020: normal_id_00_00000000.wav;
from 2021 on
section_00_source_train_normal_0000_<attributes>.wav). A row is a mel band, the lowest at the bottom; a column 32 ms. LOW dB is
black, HIGH
dB white.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torchaudio
from PIL import Image

from audiokd.data.anomaly_labels import GOOD
from audiokd.data.audio import load
from audiokd.data.folders import files_below
from audiokd.data.ids import escape_id
from audiokd.data.image_sets import ImageSet, write_image_set
from audiokd.data.items import Item
from audiokd.data.utterance import Utterance

N_FFT, HOP = 1024, 512  # samples, at 16 kHz: the task's baselines


def picture(wav: np.ndarray, rate: int, mels: int, low: float, high: float) -> Image.Image:
    mel = torchaudio.transforms.MelSpectrogram(rate, N_FFT, hop_length=HOP, n_mels=mels)(torch.from_numpy(wav).float())
    db = 10 * mel.clamp(min=1e-12).log10().numpy()
    grey = np.rint(255 * np.clip((db - low) / (high - low), 0, 1)).astype(np.uint8)
    return Image.fromarray(grey[::-1])


def label_of(path: Path) -> str:
    words = path.stem.split("_")
    found = [w for w in words if w in ("normal", "anomaly")]
    if len(found) != 1:
        sys.exit(f"error: {path}: neither normal nor anomaly in its name: the evaluation sets have no labels")
    return GOOD if found[0] == "normal" else "anomaly"


def main(root: str, data: str, machines: str = "", mels: str = "128", low: str = "-80", high: str = "20") -> None:
    folder = Path(root)
    if not folder.is_dir():
        sys.exit(f"error: no folder {root}: put the machines' folders there, or give --corpus")
    names = machines.split() or sorted(p.name for p in folder.iterdir() if (p / "train").is_dir())
    splits: dict[str, list[Item]] = {"train": [], "test": []}
    for machine in names:
        for split in splits:
            clips = sorted(files_below(folder / machine / split, (".wav", ".flac")))
            if not clips:
                sys.exit(f"error: {folder / machine / split}: no clip")
            for path in clips:
                name = escape_id(f"{machine}/{path.stem}")
                utt = Utterance(name, str(path))
                wav, rate = load(utt)
                out = Path(data) / split / "pictures" / machine / f"{path.stem}.png"
                out.parent.mkdir(parents=True, exist_ok=True)
                picture(np.asarray(wav), rate, int(mels), float(low), float(high)).save(out)
                splits[split].append(Item(name, str(out), label_of(path), machine))
    classes = {GOOD: GOOD, "anomaly": "anomaly"}
    write_image_set(data, ImageSet(splits, classes))
    of = {f"test-{m}": [i for i in splits["test"] if i.domain == m] for m in names}
    write_image_set(data, ImageSet(of, classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
