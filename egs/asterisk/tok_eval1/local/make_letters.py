"""Names of letters, said by several voices, to a Kaldi data dir with word times: `make_letters.py DOWNLOADS DATA_DIR`.

Below DOWNLOADS lie Asterisk's sounds/en_US_f_Allison/letters/a.wav and KLettres' klettres/en/alpha/A.ogg. A letter is an
utterance and one label of phones.ctm, `en-a`, from where its sound begins to where it ends. A voice of two languages counts
as two speakers, so that only letters of one language are compared.
"""

import sys
from pathlib import Path
from string import ascii_lowercase

import librosa

from audiokd.data.audio import load
from audiokd.data.ctm import PHONES, Phone, write_ctm
from audiokd.data.kaldi import write_data_dir
from audiokd.data.utterance import Utterance

PROMPTS, KLETTRES = "*/usr/share/asterisk/sounds", "*/usr/share/klettres"
VOICES = {
    "en-Allison": f"{PROMPTS}/en_US_f_Allison/letters/{{letter}}.wav",
    "en-klettres": f"{KLETTRES}/en/alpha/{{capital}}.ogg",
    "en-klettresGB": f"{KLETTRES}/en_GB/alpha/{{letter}}.ogg",
    "es-Allison": f"{PROMPTS}/es_MX_f_Allison/letters/{{letter}}.wav",
    "es-klettres": f"{KLETTRES}/es/alpha/{{letter}}.ogg",
    "fr-June": f"{PROMPTS}/fr_CA_f_June/letters/{{letter}}.wav",
    "fr-klettres": f"{KLETTRES}/fr/alpha/a-{{number}}.ogg",
    "it-Carlo": f"{PROMPTS}/it_IT_m_Carlo/letters/{{letter}}.wav",
    "it-klettres": f"{KLETTRES}/it/alpha/{{letter}}.ogg",
}
# named otherwise from one country to the next, or not there
LEFT_OUT = {"en": "z", "es": "vw", "it": "v"}
SILENCE_DB = 35  # below the loudest frame


def main(downloads: str, data: str) -> None:
    utterances, words = [], {}
    for voice, pattern in VOICES.items():
        language = voice[:2]
        for number, letter in enumerate(ascii_lowercase):
            if letter in LEFT_OUT.get(language, ""):
                continue
            name = pattern.format(letter=letter, capital=letter.upper(), number=number)
            found = sorted(Path(downloads).glob(name))
            if not found:
                sys.exit(f"error: {downloads}: no {name}")
            utterance = Utterance(f"{voice}-{letter}", str(found[0]), text=letter, speaker=voice)
            wav, rate = load(utterance)
            _, (start, end) = librosa.effects.trim(wav, top_db=SILENCE_DB)
            utterances.append(utterance)
            words[utterance.id] = [Phone(float(start / rate), float(end / rate), f"{language}-{letter}")]
    write_data_dir(data, utterances)
    write_ctm(Path(data) / PHONES, words)
    print(f"{data}: {len(utterances)} letters of {len(VOICES)} voices")


if __name__ == "__main__":
    main(*sys.argv[1:])
