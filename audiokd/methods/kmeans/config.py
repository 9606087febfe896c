"""Shape of a k-means tokenizer as a transformers config. Imports no torch: transformers' auto modules load it half-way up."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from audiokd.errors import AudiokdError

#: what each codebook's centres are of, in order
FEATURES = ("log_mel", "chroma")


class KMeansConfig(PreTrainedConfig):
    """Which features, and how many clusters of each.

    Args:
        clusters: of log-mel and of chroma frames; 0 leaves one out.
        sample_rate: Hz.
        frame_size: samples a frame.
        n_mels: bands of the log-mel.
    """

    model_type = "kmeans"

    def __init__(
        self,
        clusters: tuple[int, int] = (300, 200),
        sample_rate: int = 24_000,
        frame_size: int = 320,
        n_mels: int = 80,
        **kwargs: Any,
    ):
        self.clusters = list(clusters)
        self.sample_rate, self.frame_size, self.n_mels = sample_rate, frame_size, n_mels
        super().__init__(**kwargs)
        if len(self.clusters) != len(FEATURES) or min(self.clusters) < 0 or not any(self.clusters):
            what = f"clusters {self.clusters}: two numbers are due, of {' and '.join(FEATURES)}, not both 0"
            raise AudiokdError(what, where="k-means config")
