"""MERT (arXiv 2306.00107): HuBERT's encoder on music at 24 kHz, 75 frames a second.

The weights are named as in transformers' HubertModel, which loads the exported folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.methods.mert.config import FRAME_SIZE, MIN_SAMPLES, MERTConfig
from audiokd.nn.features import LAYERS, AudioFeatures, clip_blocks_of, layer_index, part_names
from audiokd.nn.hubert import Encoder, FeatureProjection, WaveConvs, init_hubert
from audiokd.nn.lengths import zero_beyond
from audiokd.nn.over_time import normed_over_time
from audiokd.nn.waveforms import check_wav

#: stretches that go through the transformer at once in inference
CHUNKS = 8
#: of the waveform's variance, as Wav2Vec2FeatureExtractor has it
EPS = 1e-7


class MERTModel(PreTrainedModel):
    """The encoder. `convolve` and `states` are for training; `extract_features` takes waveforms of any length."""

    config_class = MERTConfig
    base_model_prefix = "hubert"
    main_input_name = "wav"

    def __init__(self, config: MERTConfig):
        super().__init__(config)
        c = config
        self.feature_extractor = WaveConvs(c.channels, norm_padding=c.norm_padding)
        self.feature_projection = FeatureProjection(c.channels, c.dim, c.dropout)
        self.masked_spec_embed = nn.Parameter(torch.empty(c.dim))
        self.encoder = Encoder(
            c.dim,
            c.depth,
            c.heads,
            c.hidden,
            c.pre_norm,
            dropout=c.dropout,
            attention_dropout=c.attention_dropout,
            activation_dropout=c.activation_dropout,
            relax=c.relax,
            layerdrop=c.layerdrop,
            deepnorm=c.deepnorm,
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        init_hubert(module)
        if module is self:
            nn.init.uniform_(self.masked_spec_embed)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return self.config.sample_rate

    @property
    def frame_size(self) -> int:
        """Samples a frame: 320."""
        return FRAME_SIZE

    @property
    def frame_rate(self) -> float:
        """Frames a second: 75."""
        return self.sample_rate / FRAME_SIZE

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs."""
        return MIN_SAMPLES

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return self.config.dim

    @property
    def last_norm(self) -> str:
        """Name of the norm after the last layer; where norms are after the branches there is none."""
        return "encoder.layer_norm" if self.config.pre_norm else ""

    def clip_dim(self, clip_blocks: int) -> int:
        """Size of a clip embedding of the last `clip_blocks` layers."""
        return self.dim * clip_blocks

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: `audiokd.nn.features.part_names`, and hidden0, hidden1, ...: what `hidden_states` has."""
        return part_names(self.config.depth) + tuple(f"hidden{k}" for k in range(self.config.depth + 1))

    def convolve(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The convolutions' output [B, T', C] of waveforms [B, T] with `lengths` [B] samples, and frames [B] that count."""
        wav = self._level(wav, lengths)
        return self.feature_extractor(wav, lengths).transpose(1, 2), self.feature_extractor.frames(lengths)

    def _level(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """`wav` [B, T] with zeros past each item's end, and its level gone where the model wants that."""
        x = zero_beyond(wav[:, None], lengths)
        return (zero_beyond(normed_over_time(x, lengths, EPS), lengths) if self.config.normalize else x)[:, 0]

    def states(self, features: Tensor, frames: Tensor, mask: Tensor | None = None) -> Iterator[Tensor]:
        """Hidden states [B, T', D], as transformers' HubertModel has them: the first layer's input, then each layer's output.

        Args:
            features: [B, T', C] of `convolve`.
            frames: [B] that count.
            mask: Bool [B, T'], True where a frame is hidden behind the mask embedding.
        """
        x = self.feature_projection(features)
        if mask is not None:
            x = torch.where(mask[..., None], self.masked_spec_embed.to(x.dtype), x)
        return self.encoder(x, frames)

    def normed(self, state: Tensor) -> Tensor:
        """A layer's output as what follows the encoder gets it: through the last norm, where norms are before the branches."""
        return self.encoder.layer_norm(state) if self.config.pre_norm else state

    def hidden_states(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """All depth + 1 hidden states [B, T', D] and frames [B]: the first layer's input, then each layer's output.

        In the 330M model none of them has gone through the last norm, as in transformers from version 5 on; earlier versions,
        and so the probes that were published, had the last one through it, as `extract_features` has all. Arguments and errors as
        there.
        """
        return self._run(wav, check_wav(wav, lengths, wav.device), range(self.config.depth + 1), norm=False)

    def extract_features(
        self, wav: Tensor, lengths: Tensor | None = None, clip_blocks: int | None = None
    ) -> AudioFeatures:
        """Features of waveforms of any length; a clip's do not depend on its batch.

        Longer than `config.chunk_s` they are run in stretches that do not see each other but for the convolutions' 80 samples;
        frame k begins at sample 320 k all the same. A clip's embedding is the mean over its last `clip_blocks` layers' frames, one
        after another.

        Args:
            wav: [B, T] at 24 kHz.
            lengths: [B] samples; all of T by default. At least `min_samples` each.
            clip_blocks: layers that the clip embedding is made of; all by default.

        Raises:
            AudiokdError: a clip is too short, or holds NaN or Inf.
        """
        depth = self.config.depth
        n = clip_blocks or depth
        if n > depth:
            raise AudiokdError(f"clip_blocks {n} of a model that has {depth}")
        states, frames = self._run(wav, check_wav(wav, lengths, wav.device), range(1, depth + 1))
        return AudioFeatures(states, frames, self._clip(states[-n:], frames))

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; the clip embedding is one frame."""
        depth = self.config.depth
        n = check_wav(wav, lengths, wav.device)
        if layer.startswith("hidden") and layer in self.feature_layers:
            states, frames = self._run(wav, n, [int(layer.removeprefix("hidden"))], norm=False)
            return states[0], frames
        if blocks := clip_blocks_of(layer, depth):
            states, frames = self._run(wav, n, range(depth + 1 - blocks, depth + 1))
            return self._clip(states, frames)[:, None], torch.ones_like(frames)
        if layer == LAYERS:
            states, frames = self._run(wav, n, range(1, depth + 1))
            return torch.cat(states, -1), frames
        states, frames = self._run(wav, n, [layer_index(layer, depth) + 1])
        return states[0], frames

    @staticmethod
    def _clip(states: list[Tensor], frames: Tensor) -> Tensor:
        return torch.cat([s.sum(1) / frames[:, None] for s in states], -1)

    def _run(
        self, wav: Tensor, lengths: Tensor, keep: range | list[int], norm: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        """Hidden states `keep` [B, T', D] each, zeros past a clip's frames, which are [B]."""
        if bool((lengths < MIN_SAMPLES).any()):
            i = int(lengths.argmin())
            what = f"item {i} has {int(lengths[i])} samples at {self.sample_rate} Hz, a frame needs {MIN_SAMPLES}"
            raise AudiokdError(what, fix="leave it out or pad it")
        wav = self._level(wav.to(self.dtype), lengths)
        frames = self.feature_extractor.frames(lengths)
        size = max(1, int(self.config.chunk_s * self.frame_rate))
        owner, pieces, counts = [], [], []
        for i, n in enumerate(frames.tolist()):
            for start in range(0, n, size):
                stop = min(start + size, n)
                owner.append(i)
                counts.append(stop - start)
                # its last frame hears 80 samples of what comes next; the first norm hears all that is left at the end
                end = int(lengths[i]) if stop == n else (stop - 1) * FRAME_SIZE + MIN_SAMPLES
                pieces.append(wav[i, start * FRAME_SIZE : end])
        outputs: list[list[list[Tensor]]] = [[[] for _ in keep] for _ in frames]
        at_once = max(CHUNKS, len(frames))  # a batch of clips of one stretch each goes through in one call
        for at in range(0, len(pieces), at_once):
            part = pieces[at : at + at_once]
            n = torch.tensor([len(p) for p in part], device=wav.device)
            stacked = torch.stack([F.pad(p, (0, int(n.max()) - len(p))) for p in part])
            x, m = self.feature_extractor(stacked, n).transpose(1, 2), self.feature_extractor.frames(n)
            found = {k: s for k, s in enumerate(islice(self.states(x, m), max(keep) + 1)) if k in keep}
            for slot, k in enumerate(keep):
                state = self.normed(found[k]) if norm else found[k]
                for row, (i, count) in enumerate(zip(owner[at : at + at_once], counts[at : at + at_once])):
                    outputs[i][slot].append(state[row, :count])
        longest = int(frames.max())
        joined = [[torch.cat(parts) for parts in item] for item in outputs]
        return [
            torch.stack([F.pad(item[slot], (0, 0, 0, longest - len(item[slot]))) for item in joined])
            for slot in range(len(keep))
        ], frames
