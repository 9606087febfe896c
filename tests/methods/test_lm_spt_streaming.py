"""A causal LM-SPT on a stream of real speech, and long recordings that are never in memory whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_lm_spt_parts import PAPER, build
from torch import Tensor

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.tokens.codes import Codes

TINY = {"encoder_dim": 2, "latent_dim": 32, "decoder_dim": 32, "aux_dim": 16} | {
    "semantic_codebook_size": 64,
    "acoustic_codebook_size": 32,
}
MODELS = {
    "released": TINY | {"causal": True},
    "paper": PAPER | {"causal": True},
    "shared": PAPER | {"causal": True, "shared_encoder": True},
    "official floor": TINY | {"causal": True, "pad_to_frame": False},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> LMSPTModel:
    return build(**MODELS[request.param])


@pytest.fixture(scope="module")
def recording(two_cities: Path) -> dict[int, Tensor]:
    return {rate: torch.from_numpy(load_at(Utterance("x", str(two_cities)), rate)) for rate in (16000, 24000)}


@pytest.fixture
def speech(model: LMSPTModel, recording: dict[int, Tensor]) -> Tensor:
    """Two items of four seconds and a bit that fills no frame [2, T]."""
    wav = recording[model.sample_rate]
    return torch.stack([wav[s : s + 4 * model.sample_rate + 123] for s in (0, 400_000)])


def stream(model: LMSPTModel, wav: Tensor, size: int) -> Tensor:
    """Codes of `wav` [B, T] in chunks of `size` samples."""
    state, out = None, []
    for chunk in wav.split(size, 1):
        codes, state = model.encode_step(chunk, state)
        out.append(codes)
    codes, state = model.encode_step(wav[:, :0], state, last=True)
    assert state is None
    return torch.cat([*out, codes], -1)


@pytest.mark.parametrize("size", [777, 5000, 10**6])
def test_encoded_in_chunks_equals_the_whole(size: int, model: LMSPTModel, speech: Tensor) -> None:
    whole = model.encode(speech).codes
    assert whole.unique().numel() > 20
    assert torch.equal(stream(model, speech, size), whole)


@pytest.mark.parametrize("semantic_only", [False, True])
@pytest.mark.parametrize("size", [1, 7])
def test_decoded_in_chunks_equals_the_whole(size: int, semantic_only: bool, model: LMSPTModel, speech: Tensor) -> None:
    codes = model.encode(speech).codes
    whole, _ = model.decode(codes, semantic_only)
    state, out = None, []
    for chunk in codes.split(size, -1):
        wav, state = model.decode_step(chunk, state, semantic_only)
        assert wav.shape[1] == chunk.shape[-1] * whole.shape[1] // codes.shape[-1]  # no delay
        out.append(wav)
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=0, atol=1e-5)


def test_a_state_can_be_kept_and_gone_back_to(model: LMSPTModel, speech: Tensor) -> None:
    half = 40_001
    _, state = model.encode_step(speech[:, :half])
    first, _ = model.encode_step(speech[:, half:], state, last=True)
    model.encode_step(torch.randn_like(speech), state)  # another way on from the same point
    again, _ = model.encode_step(speech[:, half:], state, last=True)
    assert torch.equal(first, again)
    _, heard = model.decode_step(first[..., :3])
    wav, _ = model.decode_step(first[..., 3:5], heard)
    model.decode_step(first[..., 5:9], heard)
    assert torch.equal(model.decode_step(first[..., 3:5], heard)[0], wav)


def test_a_state_does_not_grow(model: LMSPTModel, speech: Tensor) -> None:
    state, heard, sizes = None, None, []
    for chunk in speech[:, : 45 * model.frame_size].split(3 * model.frame_size + 100, 1):
        codes, state = model.encode_step(chunk, state)
        _, heard = model.decode_step(codes, heard)
        tensors = [*state.semantic, *(state.acoustic or ()), *heard.cache]
        assert all(t.untyped_storage().nbytes() == t.nbytes for t in tensors)  # no view holds a whole chunk
        sizes.append(sum(t.numel() for t in tensors))
    assert sizes[-1] == sizes[2]
    assert state.wav.shape[1] < model.frame_size


def test_fewer_codebooks(model: LMSPTModel, speech: Tensor) -> None:
    whole = model.encode(speech).codes
    try:
        model.set_num_codebooks(1)
        codes, state = model.encode_step(speech[:, :30_000])
        assert codes.shape[1] == 1
        assert torch.equal(codes, whole[:, :1, : codes.shape[-1]])
        assert state.acoustic is None
        long = model.encode_long(speech[0])
        assert torch.equal(long.codes, whole[:1, :1])
        for other in (2, 8):
            model.set_num_codebooks(other)
            with pytest.raises(AudiokdError, match=f"began with 1 codebooks, the model is set to {other}"):
                model.encode_step(speech[:, 30_000:], state)
    finally:
        model.set_num_codebooks(8)


def test_bad_streams(model: LMSPTModel, speech: Tensor) -> None:
    _, state = model.encode_step(speech)
    for shape, message in (((1, 100), "a chunk of 1 items in a stream of 2"), ((100,), r"must be \[B, n\]")):
        with pytest.raises(AudiokdError, match=message):
            model.encode_step(torch.zeros(shape), state)
    chunk = speech[:, :100].clone()
    chunk[1, 42] = float("nan")
    with pytest.raises(AudiokdError, match=r"^item 1, sample 42: NaN or Inf"):
        model.encode_step(chunk, state)
    codes = model.encode(speech).codes
    _, heard = model.decode_step(codes)
    with pytest.raises(AudiokdError, match="a chunk of 1 items in a stream of 2"):
        model.decode_step(codes[:1], heard)
    with pytest.raises(AudiokdError, match="semantic_only changed within a stream"):
        model.decode_step(codes, heard, semantic_only=True)
    with pytest.raises(AudiokdError, match="a chunk of no frames"):
        model.decode_step(codes[..., :0], heard)
    with pytest.raises(AudiokdError, match="stream 0 holds code 1"):
        model.decode_step(codes + 100)


def test_a_model_that_hears_the_future_does_not_stream() -> None:
    model = build(**TINY)
    with pytest.raises(AudiokdError, match=r"not causal.*\n.*encode_long"):
        model.encode_step(torch.zeros(1, 100))
    with pytest.raises(AudiokdError, match=r"not causal.*\n.*decode_long"):
        model.decode_step(torch.zeros(1, 8, 2, dtype=torch.long))


# long form


@pytest.mark.parametrize("kind", ["released", "paper"])
def test_encode_long_equals_encode(kind: str, two_cities: Path, recording: dict[int, Tensor]) -> None:
    model = build(**{"released": TINY, "paper": PAPER}[kind])
    whole = model.encode(recording[model.sample_rate][None])
    assert whole.lengths.tolist() == [555]  # 44 s
    model.piece_s = 5.0
    same(model.encode_long(two_cities), whole)
    for semantic_only in (False, True):
        sound = list(model.decode_long(whole, semantic_only))
        assert max(len(x) for x in sound) <= 5.0 * model.sample_rate
        torch.testing.assert_close(torch.cat(sound), model.decode(whole, semantic_only)[0][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", [{}, {"causal": True}, {"pad_to_frame": False}])
def test_encode_long_takes_arrays_and_blocks(change: dict, recording: dict[int, Tensor]) -> None:
    model, wav = build(**TINY, **change), recording[24000][: 5 * 24000 + 77]
    whole = model.encode(wav[None])
    model.piece_s = 1.0
    blocks = (b.numpy() for b in wav.split(3_333))
    for source in (wav, wav[None].numpy(), blocks, [wav[:1], wav[1:]]):
        same(model.encode_long(source), whole)


def same(got: Codes, want: Codes) -> None:
    assert torch.equal(got.codes, want.codes)
    assert torch.equal(got.lengths, want.lengths)
    assert torch.equal(got.num_samples, want.num_samples)


def test_encode_long_holds_no_more_than_a_piece(recording: dict[int, Tensor]) -> None:
    model = build(**TINY)
    model.piece_s = 2.0
    seen, given = [], 0
    latents = model.latents

    def watch(part: Tensor, *rest):
        seen.append((given, part.untyped_storage().nbytes() // 4))
        return latents(part, *rest)

    def blocks():
        nonlocal given
        for block in recording[24000].split(10_000):
            given += 1
            yield block.clone()

    model.latents = watch
    model.encode_long(blocks())
    assert len(seen) == 23
    margins = 2 * 27 * 1920
    assert max(held for _, held in seen) <= 2.0 * 24000 + margins + 2 * 10_000
    assert seen[0][0] < 15  # the first piece went through before a quarter of the recording had come


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.zeros(2, 100), r"a block of torch.float32 \[2, 100\]"),
        (torch.zeros(100, dtype=torch.int16), r"a block of torch.int16"),
        ([], "an empty waveform has no codes"),
        (torch.zeros(0), "an empty waveform has no codes"),
        ("/nowhere.wav", "no such file"),
    ],
)
def test_bad_sources(source, message: str) -> None:
    with pytest.raises(AudiokdError, match=message):
        build(**TINY).encode_long(source)


def test_decode_long_takes_one_recording() -> None:
    with pytest.raises(AudiokdError, match="decode_long takes one recording, not 2"):
        list(build(**TINY).decode_long(torch.zeros(2, 8, 3, dtype=torch.long)))
