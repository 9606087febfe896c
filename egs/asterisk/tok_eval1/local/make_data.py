"""Asterisk prompts to a Kaldi data dir: `make_data.py DOWNLOADS DATA_DIR`.

Below DOWNLOADS lie folders such as sounds/en_US_f_Allison, named language_COUNTRY_sex_Speaker, with wavs in it and in its
subfolders. Of each, 20 prompts of 2 s to 6 s, evenly over the sorted names. silence/ is left out.
"""

import sys
from pathlib import Path

import soundfile as sf

from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

PROMPTS, SHORTEST_S, LONGEST_S = 20, 2.0, 6.0


def main(downloads: str, data: str) -> None:
    utterances = []
    for folder in sorted(p for p in Path(downloads).glob("*/usr/share/asterisk/sounds/*_*_*_*") if p.is_dir()):
        language, _, _, speaker = folder.name.split("_")
        wavs = [p for p in sorted(folder.rglob("*.wav")) if "silence" not in p.parts]
        wavs = [p for p in wavs if SHORTEST_S <= sf.info(p).duration <= LONGEST_S]
        for i in sorted({round(k * (len(wavs) - 1) / (PROMPTS - 1)) for k in range(PROMPTS)} if wavs else ()):
            name = "-".join(wavs[i].relative_to(folder).with_suffix("").parts)
            utterances.append(Utterance(f"{speaker}-{language}-{name}", str(wavs[i]), speaker=speaker))
    if not utterances:
        sys.exit(f"error: {downloads}: no */usr/share/asterisk/sounds/<language>_<COUNTRY>_<sex>_<Speaker> with wavs")
    write_data_dir(data, utterances)
    print(f"{data}: {len(utterances)} utterances of {len({u.speaker for u in utterances})} speakers")


if __name__ == "__main__":
    main(*sys.argv[1:])
