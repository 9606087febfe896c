"""Whether the audio of an utterance can be used: it is decoded in full, and what is wrong or odd is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from audiokd.data.audio import info, load_channels
from audiokd.data.shar import SUFFIX
from audiokd.data.utterance import Utterance
from audiokd.errors import AudioError

CLIPPED = 0.999  # |x| from here on counts as clipped (full scale of 16 bits is 0.99997)


@dataclass(frozen=True)
class AudioReport:
    """What one utterance's audio is. `error` is why it cannot be used, `warnings` what a person should look at."""

    id: str
    where: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    duration_s: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    format: str = ""


def check_audio(utt: Utterance, clip_threshold: float = 0.001) -> AudioReport:
    """Decode an utterance and look at its samples.

    Args:
        utt: the utterance.
        clip_threshold: share of samples at full scale from which it is reported as clipped.
    """
    where = utt.where or utt.path
    try:
        x, sample_rate = load_channels(utt)
        about = info(utt)
    except AudioError as e:
        return AudioReport(utt.id, where, error=e.what)
    warnings = []
    clipped = float(np.mean(np.abs(x) >= CLIPPED))
    if clipped > clip_threshold:
        warnings.append(f"clipped: {clipped:.2%} of the samples are at full scale")
    if not x.any():
        warnings.append("digital silence: every sample is 0")
    suffix, real = PurePath(utt.path).suffix.lower()[1:], SUFFIX.get(about.format, about.format.lower())
    if (
        utt.codec == ""
        and utt.nbytes is None
        and {"aif": "aiff", "opus": "ogg", "oga": "ogg"}.get(suffix, suffix) != real
    ):
        warnings.append(f"named .{suffix}, but it is {real} (read as {real})")
    audio_format = f"{real} {about.subtype}"
    return AudioReport(
        utt.id, where, None, tuple(warnings), len(x) / sample_rate, sample_rate, about.channels, audio_format
    )
