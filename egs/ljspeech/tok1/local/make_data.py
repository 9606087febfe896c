"""LJSpeech as published to Kaldi data dirs: `make_data.py LJSPEECH_DIR DATA_DIR`.

metadata.csv has a line an utterance, `LJ001-0001|text as printed|text as read`; its audio is wavs/LJ001-0001.wav. The part
before the dash is the chapter. The corpus has no splits of its own: the last chapter is test, the one before it dev.
"""

import sys
from pathlib import Path

from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance


def main(root: str, data: str) -> None:
    chapters: dict[str, list[Utterance]] = {}
    table = Path(root) / "metadata.csv"
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("|")  # never quoted
        if len(fields) != 3:
            sys.exit(f"error: {table}:{number}: {len(fields)} fields, not id|text|normalised text")
        wav = Path(root) / "wavs" / f"{fields[0]}.wav"
        if not wav.exists():
            print(f"left out: {table}:{number}: no wavs/{wav.name}", file=sys.stderr)
            continue
        utterance = Utterance(fields[0], str(wav.resolve()), text=fields[2], speaker="LJ")
        chapters.setdefault(fields[0].split("-")[0], []).append(utterance)
    if len(chapters) < 3:
        sys.exit(f"error: {root}: {len(chapters)} chapters with audio; three or more are needed, the corpus has 50")
    *train, dev, test = (chapters[name] for name in sorted(chapters))
    for name, part in {"train": [u for chapter in train for u in chapter], "dev": dev, "test": test}.items():
        write_data_dir(f"{data}/{name}", part)
        print(f"{data}/{name}: {len(part)} utterances")


if __name__ == "__main__":
    main(*sys.argv[1:])
