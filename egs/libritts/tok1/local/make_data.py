"""LibriTTS as published to Kaldi data dirs: `make_data.py LIBRITTS_DIR DATA_DIR PART...`.

<part>/<speaker>/<chapter>/<utterance>.wav, 24 kHz, with its text in <utterance>.normalized.txt beside it. The train parts
become one set, train_all (or train, where not all three are there).
"""

import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

TRAIN = {"train-clean-100", "train-clean-360", "train-other-500"}


def read_part(folder: Path) -> list[Utterance]:
    utterances = []
    for wav in sorted(folder.glob("*/*/*.wav")):
        text = wav.with_suffix(".normalized.txt")
        if not text.exists():
            print(f"left out: {wav}: no {text.name}", file=sys.stderr)
            continue
        words = text.read_text(encoding="utf-8").strip()
        utterances.append(Utterance(wav.stem, str(wav.resolve()), text=words, speaker=wav.parts[-3]))
    if not utterances:
        sys.exit(f"error: {folder}: no wav files with text; is it LibriTTS as published?")
    return utterances


def main(root: str, data: str, *parts: str) -> None:
    sets: dict[str, list[Utterance]] = {}
    train = "train_all" if set(parts) >= TRAIN else "train"
    for part in parts:
        name = train if part in TRAIN else part.replace("-", "_")
        sets.setdefault(name, []).extend(read_part(Path(root) / part))
    for name, utterances in sets.items():
        write_data_dir(f"{data}/{name}", utterances)
        print(f"{data}/{name}: {len(utterances)} utterances")


if __name__ == "__main__":
    main(*sys.argv[1:])
