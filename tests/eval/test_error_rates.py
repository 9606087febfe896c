"""A real Whisper on real speech, and counts of edits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from noisy import with_noise

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.eval.asr import (
    MAX_S,
    MIN_S,
    SAMPLE_RATE,
    AsrScorer,
    Errors,
    cer,
    character_errors,
    normalise_text,
    split_quiet,
    wer,
    word_errors,
)

# Dickens, A Tale of Two Cities (1859), as the recording has it
TWO_CITIES = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season
of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before
us, we were all going direct to Heaven, we were all going direct the other way - in short, the period was so far like
the present period, that some of its noisiest authorities insisted on its being received, for good or for evil, in the
superlative degree of comparison only."""
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


@pytest.fixture(scope="module")
def asr(whisper_dir: Path) -> AsrScorer:
    return AsrScorer(whisper_dir)


@pytest.fixture(scope="module")
def clips(two_cities: Path, beckett: Path) -> list[np.ndarray]:
    return [load_at(Utterance(p.stem, str(p)), SAMPLE_RATE) for p in (two_cities, beckett)]


def test_real_speech_is_read(asr, clips):
    said = [asr.normalise(t) for t in asr.transcribe(clips)]
    refs = [normalise_text(t) for t in (TWO_CITIES, BECKETT)]
    assert len(refs[0].split()) == 119
    assert wer(refs, said) < 0.04
    assert cer(refs, said) < 0.02
    assert not asr.multilingual


def test_noise_costs_words(asr, clips):
    clip = clips[0][: 12 * SAMPLE_RATE]
    clean, noisy = asr.transcribe([clip, with_noise(clip, -8)])
    assert wer([asr.normalise(clean)], [asr.normalise(noisy)]) > 0.1


def test_a_clip_is_read_alike_whatever_its_neighbours(asr, clips, whisper_dir):
    short = [clips[0][:50_000], clips[1], clips[0][50_000:150_000]]
    batched = AsrScorer(whisper_dir, batch_size=3)
    assert batched.transcribe(short) == [asr.transcribe([c])[0] for c in short]


def test_silence_says_nothing(asr, clips):
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert asr.transcribe([silence, clips[1], silence])[::2] == ["", ""]
    assert asr.transcribe([]) == []


def test_long_audio_is_cut_where_it_is_quiet(clips):
    x = np.concatenate([clips[0], clips[0], clips[0][:1]])
    pieces = split_quiet(x)
    assert np.array_equal(np.concatenate(pieces), x)
    assert all(MIN_S <= p.size / SAMPLE_RATE <= MAX_S for p in pieces[:-1])
    level = np.sqrt((x**2).mean())
    ends = [np.concatenate([a[-800:], b[:800]]) for a, b in pairwise(pieces)]
    assert all(np.sqrt((e**2).mean()) < 0.1 * level for e in ends)
    exact = x[: MAX_S * SAMPLE_RATE]
    assert len(split_quiet(exact)) == 1


def test_edits_by_hand():
    assert word_errors("a b c d", "a x c d e") == Errors(1, 0, 1, 4)
    assert word_errors("", "a b") == Errors(0, 0, 2, 0)
    assert word_errors("a b", "") == Errors(0, 2, 0, 2)
    assert character_errors("ab cd", "abcd") == Errors(0, 1, 0, 5)
    assert wer(["a b", "c"], ["a", "c"]) == pytest.approx(1 / 3)
    assert cer(["ab"], ["ax"]) == 0.5
    assert wer([""], ["a"]) is None


@pytest.mark.parametrize("seed", range(3))
def test_edits_against_plain_dynamic_programming(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        a, b = (list(rng.choice(list("abcd"), rng.integers(1, 12))) for _ in range(2))
        d = np.arange(len(b) + 1)
        for x in a:
            row = [d[0] + 1]
            for j, y in enumerate(b):
                row.append(min(d[j] + (x != y), d[j + 1] + 1, row[j] + 1))
            d = np.array(row)
        assert word_errors(" ".join(a), " ".join(b)).count == d[-1]


def test_normalisation():
    assert normalise_text("Mr. Brown's twenty-one DOGS -- aren't here!") == "mister brown is 21 dogs are not here"
    assert normalise_text("Übergröße, naïve!", english=False) == "übergröße naïve"


def test_what_is_no_whisper_is_refused(tmp_path):
    with pytest.raises(AudiokdError, match="cannot be loaded as a Whisper"):
        AsrScorer(tmp_path)
