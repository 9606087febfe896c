"""Stage 8: what no codec made, to read its scores by: the original, and speech rebuilt from a log-mel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def anchor(
    kind: Literal["original", "griffin_lim"], input: str, wav_dir: str, sample_rate: int = 16000, limit: int = 0
) -> int:
    """Write `WAV_DIR/<utterance id>.wav` for every utterance; files that stand are left. Score it as any system.

    Args:
        kind: original: resampled, a topline; griffin_lim: from 80 mel bands, what a log-mel alone knows.
        input: INPUT with the originals.
        wav_dir: folder to write, 16-bit wav.
        sample_rate: Hz of the files.
        limit: stop after this many utterances; 0 is all.

    Returns:
        Number of files written.

    Raises:
        AudiokdError: the input cannot be opened, or an id such as ../x leads out of `wav_dir`; AudioError: an utterance of it
            cannot be read.
    """
    from audiokd.data.audio import load_at, write_wav
    from audiokd.data.inputs import open_input
    from audiokd.errors import AudiokdError
    from audiokd.eval.griffin_lim import griffin_lim
    from audiokd.files import leads_out
    from audiokd.progress import progress

    utterances = open_input(input).utterances()[: limit or None]
    written = 0
    with progress("anchor", len(utterances), "utterances") as bar:
        for utt in utterances:
            if leads_out(utt.id):
                raise AudiokdError("its id leads out of the folder", where=utt.id, fix="rename it in the INPUT")
            path = Path(wav_dir) / f"{utt.id}.wav"
            if not path.exists():
                wav = load_at(utt, sample_rate)
                write_wav(path, wav if kind == "original" else griffin_lim(wav, sample_rate), sample_rate)
                written += 1
            bar.advance()
    return written
