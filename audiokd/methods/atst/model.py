"""ATST (arXiv 2204.12076, 2306.04186): a ViT on whole-band patches of a log-mel spectrogram, 40 ms a token.

ATST-Clip has a token for the clip, ATST-Frame has none. README.md has the constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from audiokd.errors import AudiokdError
from audiokd.frontends.atst_mel import HOP_LENGTH, MIN_SAMPLES, N_MELS, SAMPLE_RATE, ATSTLogMel
from audiokd.methods.atst.config import ATSTConfig
from audiokd.methods.atst.settings import PATCH
from audiokd.nn.features import LAYERS, AudioFeatures, clip_blocks_of, layer_index, part_names
from audiokd.nn.lengths import length_mask
from audiokd.nn.vit import Block, init_vit
from audiokd.nn.waveforms import check_wav

#: chunks that go through the transformer at once in inference
CHUNKS = 32
EPS = 1e-6


class ATSTModel(PreTrainedModel):
    """The encoder. `forward` takes log-mel of training crops; `extract_features` takes waveforms of any length."""

    config_class = ATSTConfig
    base_model_prefix = "atst"
    main_input_name = "mel"

    def __init__(self, config: ATSTConfig):
        super().__init__(config)
        c = config
        self.frontend = ATSTLogMel(c.win_length)
        self.patch_embed = nn.Linear(N_MELS * PATCH, c.dim)
        self.pos_embed = nn.Parameter(torch.empty(1, c.max_frames // PATCH + 1, c.dim))
        self.mask_embed = nn.Parameter(torch.empty(1, 1, c.dim))
        self.cls_token = nn.Parameter(torch.empty(1, 1, c.dim)) if c.kind == "clip" else None
        drops = [c.drop_path * i / max(1, c.depth - 1) for i in range(c.depth)]
        self.blocks = nn.ModuleList(Block(c.dim, c.heads, c.mlp_ratio, c.qkv_bias, p, EPS) for p in drops)
        self.norm = nn.LayerNorm(c.dim, EPS)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        init_vit(module)
        if module is self:
            for p in (self.pos_embed, self.mask_embed, self.cls_token):
                if p is not None:
                    nn.init.trunc_normal_(p, std=0.02)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveform in."""
        return SAMPLE_RATE

    @property
    def frame_size(self) -> int:
        """Samples a token: 640."""
        return HOP_LENGTH * PATCH

    @property
    def min_samples(self) -> int:
        """Samples that a clip needs."""
        return MIN_SAMPLES

    @property
    def frame_rate(self) -> float:
        """Tokens a second: 25."""
        return SAMPLE_RATE / self.frame_size

    @property
    def dim(self) -> int:
        """Size of a token."""
        return self.config.dim

    def clip_dim(self, clip_blocks: int) -> int:
        """Size of a clip embedding of the last `clip_blocks` blocks."""
        return self.dim * clip_blocks * (1 + self.cls_tokens)

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """What `extract` can give: see `audiokd.nn.features.part_names`."""
        return part_names(self.config.depth)

    @property
    def _chunk_frames(self) -> int:
        return self.config.chunk_frames or self.config.max_frames

    @property
    def cls_tokens(self) -> int:
        """Tokens in front of the frames: 1 for ATST-Clip, 0 for ATST-Frame."""
        return int(self.cls_token is not None)

    def forward(
        self, mel: Tensor, frames: Tensor, mask: Tensor | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens of clips of at most `max_frames` frames.

        Args:
            mel: [B, 64, F] as the front end gives it.
            frames: [B] frames of each clip; at least 4.
            mask: Bool [B, F // 4], True where a token is hidden behind the mask embedding.
            rows: [B, M] tokens that are wanted, by their place in what is returned; all by default. Fewer are cheaper.

        Returns:
            Tokens [B, N, D] through the final norm (N = F // 4, and ATST-Clip's own token before them), or the [B, M, D] of
            `rows`, and how many frames' tokens count, [B].
        """
        tokens = frames // PATCH
        x, attend = self._embed(mel, tokens, mask)
        for block in self.blocks[:-1]:
            x = block(x, attend)
        return self.norm(self.blocks[-1](x, attend, rows)), tokens

    def averaged(self, mel: Tensor, frames: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
        """The targets of data2vec (arXiv 2202.03555): the mean over the last `blocks` of their outputs, each normalised over
        the clip (padding left out); as `forward` otherwise."""
        tokens = frames // PATCH
        x, mask = self._embed(mel, tokens, None)
        kept = list(self._states(x, mask))[-blocks:]
        valid = F.pad(length_mask(tokens, mel.shape[-1] // PATCH), (self.cls_tokens, 0), value=True)
        return torch.stack([_instance_norm(k, valid) for k in kept]).mean(0), tokens

    def _embed(self, mel: Tensor, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Embedded patches [B, N, D], and what may be attended to where some are padding."""
        b, n = len(mel), mel.shape[-1] // PATCH
        if n > self.pos_embed.shape[1] - 1:
            what = f"{mel.shape[-1]} frames are more than the {self.config.max_frames} there are positions for"
            raise AudiokdError(what, fix="cut the clip, or call extract_features, which does")
        patches = mel[..., : n * PATCH].reshape(b, N_MELS, n, PATCH).transpose(1, 2).reshape(b, n, N_MELS * PATCH)
        x = self.patch_embed(patches)
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_embed.to(x.dtype), x)
        x = x + self.pos_embed[:, 1 : n + 1]
        if self.cls_token is not None:
            x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(b, -1, -1), x], 1)
        if bool((tokens == n).all()):
            return x, None
        valid = F.pad(length_mask(tokens, n), (self.cls_tokens, 0), value=True)
        return x, valid[:, None, None]

    def _states(self, x: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        """The output of each block."""
        for block in self.blocks:
            x = block(x, mask)
            yield x

    def extract_features(
        self, wav: Tensor, lengths: Tensor | None = None, clip_blocks: int | None = None
    ) -> AudioFeatures:
        """Features of waveforms of any length; a clip's do not depend on its batch.

        Clips of more than `config.chunk_frames` go through the transformer in chunks that do not see each other, of whole
        tokens (1,000 frames of 1,001), so that token k stays at 40 k ms. A clip's embedding is the mean over its last
        `clip_blocks` blocks' frames, one after another (ATST-Clip: its own tokens' means over the chunks, weighted by their
        frames, before them). `config.chunks` has the official rules.

        Args:
            wav: [B, T] at 16 kHz.
            lengths: [B] samples; all of T by default. At least `min_samples` each.
            clip_blocks: blocks that the clip embedding is made of; all by default, as in the official code.

        Raises:
            AudiokdError: a clip is too short, or holds NaN or Inf.
        """
        n = clip_blocks or self.config.depth
        if n > self.config.depth:
            raise AudiokdError(f"clip_blocks {n} of a model that has {self.config.depth}")
        return self._features(wav, lengths, range(self.config.depth), n)

    def extract(self, wav: Tensor, lengths: Tensor | None, layer: str) -> tuple[Tensor, Tensor]:
        """One of `feature_layers`: [B, T', D] and [B] frames; the clip embedding is one frame."""
        if blocks := clip_blocks_of(layer, self.config.depth):
            return self.extract_features(wav, lengths, blocks).part(layer)
        if layer == LAYERS:
            return self._features(wav, lengths, range(self.config.depth), 0).part(layer)
        f = self._features(wav, lengths, [layer_index(layer, self.config.depth)], 0)
        return f.hidden_states[0], f.lengths

    def _features(
        self, wav: Tensor, lengths: Tensor | None, keep: range | list[int], clip_blocks: int
    ) -> AudioFeatures:
        return self._of_mel(*self.frontend(wav, check_wav(wav, lengths, wav.device)), keep, clip_blocks)

    def clip_of(self, mel: Tensor, frames: Tensor, clip_blocks: int) -> Tensor:
        """The clip embedding [B, clip_dim] of log-mel [B, 64, F] with `frames` [B], as `extract_features` gives it."""
        last = range(self.config.depth - clip_blocks, self.config.depth)
        return self._of_mel(mel, frames, last, clip_blocks).clip

    def frames_of(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's frames [B, T', D] of log-mel [B, 64, F] with `frames` [B], and how many count, as `extract` gives."""
        f = self._of_mel(mel, frames, [self.config.depth - 1], 0)
        return f.hidden_states[0], f.lengths

    def _of_mel(self, mel: Tensor, frames: Tensor, keep: range | list[int], clip_blocks: int) -> AudioFeatures:
        size = self._chunk_frames
        if self.config.chunks == "weighted":
            size = size // PATCH * PATCH
        chunks = F.pad(mel, (0, -mel.shape[-1] % size)).unflatten(-1, (-1, size)).transpose(1, 2)
        left = (frames[:, None] - size * torch.arange(chunks.shape[1], device=mel.device)).clamp(min=0)
        parts = left.clamp(max=size)
        there = parts >= PATCH  # a chunk of padding alone has nothing to attend to
        kept = self._run(chunks[there], parts[there], keep, max(CHUNKS, len(mel)))
        counted = parts[there] // PATCH
        owner = there.nonzero()[:, 0]
        tokens = torch.zeros_like(frames).index_add_(0, owner, counted)
        states = [_join(k[:, self.cls_tokens :], counted, tokens) for k in kept]
        weight = self._chunk_weight(parts).to(mel.dtype)
        share = (weight / weight.sum(1, keepdim=True))[there]
        # ATST-Clip's official code divides a chunk's sum by the tokens from its start to the end of the clip
        quirk = self.cls_tokens and self.config.chunks == "official_half"
        divisor = left[there] // PATCH if quirk else counted
        pooled = [_mean(k, counted, divisor, share, owner, len(mel)) for k in kept] if clip_blocks else []
        cls = [c for c, _ in pooled] if self.cls_tokens else []
        last = [*cls[-clip_blocks:], *(m for _, m in pooled[-clip_blocks:])] if clip_blocks else []
        clip = torch.cat(last, -1) if last else mel.new_zeros(len(mel), 0)
        return AudioFeatures(states, tokens, clip, cls or None)

    def _run(self, chunks: Tensor, frames: Tensor, keep: range | list[int], at_once: int) -> list[Tensor]:
        """Outputs of the blocks `keep` through the final norm, [C, N, D] each, `at_once` chunks at a time."""
        outputs: list[list[Tensor]] = []
        for i in range(0, len(chunks), at_once):
            n = frames[i : i + at_once]
            x, mask = self._embed(chunks[i : i + at_once, :, : int(n.max())], n // PATCH, None)
            states = islice(self._states(x, mask), max(keep) + 1)
            outputs.append([self.norm(s) for b, s in enumerate(states) if b in keep])
        size = max(o[0].shape[1] for o in outputs)
        return [torch.cat([F.pad(o[k], (0, 0, 0, size - o[k].shape[1])) for o in outputs]) for k in range(len(keep))]

    def _chunk_weight(self, frames: Tensor) -> Tensor:
        """What each chunk [B, C] counts in its clip's embedding."""
        if self.config.chunks == "weighted":
            return frames // PATCH
        if self.config.chunks == "official_all":
            return (frames > 0).long()
        counts = frames > self._chunk_frames // 2
        counts[:, 0] = True
        return counts.long()


def _join(chunks: Tensor, counted: Tensor, tokens: Tensor) -> Tensor:
    """Chunks [C, N, D] of clips put one after another: [B, T', D], zeros past a clip's end."""
    valid = length_mask(counted, chunks.shape[1])
    out = chunks.new_zeros(len(tokens), int(tokens.max()), chunks.shape[-1])
    out[length_mask(tokens, out.shape[1])] = chunks[valid]
    return out


def _mean(
    chunks: Tensor, counted: Tensor, divisor: Tensor, share: Tensor, owner: Tensor, items: int
) -> tuple[Tensor, Tensor]:
    """Over a clip's chunks by their `share` [C]: its own token [B, D], and the mean of each chunk's frames [B, D]."""
    frames = chunks[:, -int(counted.max()) :]
    means = (frames * length_mask(counted, frames.shape[1])[..., None]).sum(1) / divisor[:, None]

    def over_chunks(x: Tensor) -> Tensor:
        return x.new_zeros(items, x.shape[-1]).index_add_(0, owner, x * share[:, None])

    return over_chunks(chunks[:, 0]), over_chunks(means)


def _instance_norm(x: Tensor, valid: Tensor) -> Tensor:
    """`x` [B, N, D] normalised over its valid tokens [B, N], a channel and item (eps 1e-5, as torch's instance_norm)."""
    v = valid[..., None].to(x.dtype)
    n = v.sum(1, keepdim=True)
    mean = (x * v).sum(1, keepdim=True) / n
    var = ((x - mean).square() * v).sum(1, keepdim=True) / n
    return (x - mean) / (var + 1e-5).sqrt()
