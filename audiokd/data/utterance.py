"""What every INPUT becomes: a list of utterances, each a stretch of one recording, wherever its bytes lie."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Utterance:
    """A stretch of audio with an id. Cheap: no audio is read until `audiokd.data.audio.load` is asked for it.

    Attributes:
        id: utterance id, unique in its corpus.
        path: file that holds the recording (an audio file, or a shard's tar).
        offset, nbytes: where the recording's bytes lie in `path`; (0, None) is the whole file.
        codec: "" for whatever the file is (soundfile finds out); "npy" for an uncompressed float32 array; "pipe" where
            `path` is a shell command that prints audio (only from wav.scp, only when pipes are allowed).
        start_s, end_s: the stretch in seconds from the recording's start; end_s None is to the end.
        channel: 0-based channel, or None for the channel policy of the reader.
        recording_id: id of the recording it is cut from.
        duration_s: length in seconds where known without opening the file, else None.
        sample_rate: of a "npy" array (a file knows its own).
        text, speaker: where the corpus has them.
        where: `file:line` that named the utterance, for messages.
    """

    id: str
    path: str
    offset: int = 0
    nbytes: int | None = None
    codec: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None
    recording_id: str = ""
    duration_s: float | None = None
    sample_rate: int | None = None
    text: str | None = None
    speaker: str | None = None
    where: str = ""

    def with_(self, **changes: object) -> Utterance:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]
