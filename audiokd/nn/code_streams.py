"""The streams of a tokenizer, of which the first few can be asked for."""

from __future__ import annotations

from audiokd.errors import AudiokdError


class CodeStreams:
    """What every tokenizer says of its codes; a base beside nn.Module.

    Attributes:
        sample_rate: Hz of the waveform in; the model's own.
        frame_size: samples a frame; the model's own.
        streams: codes of each stream that there is; the model's own.
    """

    sample_rate: int
    frame_size: int
    streams: list[int]
    _num_codebooks: int

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_size

    @property
    def num_codebooks(self) -> int:
        """Streams that `encode` gives."""
        return self._num_codebooks

    @property
    def cardinality(self) -> list[int]:
        """Codes of each of these."""
        return self.streams[: self._num_codebooks]

    def set_num_codebooks(self, n: int) -> None:
        """Encode the first `n` streams only, whichever way: whole, long, in steps.

        They are the same codes as of all streams. It changes no features, no decoding (which takes the streams it is given),
        and is of this object: a saved model has all its streams when it is loaded.
        """
        if n != int(n) or not 1 <= n <= len(self.streams):
            raise AudiokdError(f"{n} codebooks asked of a model that has {len(self.streams)}")
        self._num_codebooks = int(n)
