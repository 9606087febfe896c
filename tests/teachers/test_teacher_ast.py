"""AST at toy size: the log-mel and the states of transformers for a clip, chunks of a longer one, the same in a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
import torch
from torch import Tensor
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

import audiokd
from audiokd.errors import AudiokdError
from audiokd.teachers.ast import ASTTeacher
from audiokd.teachers.auto import load_teacher
from audiokd.teachers.trainable import build_trainable, load_trainable, shape_of

MAX_LENGTH, COLUMNS, ROWS = 256, 25, 12
CHUNK = 400 + (MAX_LENGTH - 1) * 160  # samples of 256 log-mel frames
STEP = COLUMNS * 10 * 160  # samples from one chunk to the next


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 bands and patches of 16 x 16 every 10 x 10, as the published models have; positions and norms that show."""
    out = tmp_path_factory.mktemp("ast") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    model = ASTModel(ASTConfig(**shape, max_length=MAX_LENGTH))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1 or "position" in name or "token" in name:
                p.add_(0.3 * torch.randn_like(p))
    model.save_pretrained(out)
    ASTFeatureExtractor(max_length=MAX_LENGTH, mean=-5.0, std=3.0).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def speech(beckett: Path) -> Tensor:
    return torch.from_numpy(sf.read(beckett, dtype="float32")[0])


def theirs(folder: Path, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
    """transformers' log-mel of one clip, which it cuts or fills to its length, and the states before the first and after each
    layer, then the output: patches averaged over frequency, [25, 16] each."""
    mel = ASTFeatureExtractor.from_pretrained(folder)(wav.numpy(), sampling_rate=16_000, return_tensors="pt")
    out = ASTModel.from_pretrained(folder).eval()(**mel, output_hidden_states=True)
    states = [*out.hidden_states, out.last_hidden_state]
    return mel["input_values"][0], [s[0, 2:].reshape(ROWS, COLUMNS, 16).mean(0) for s in states]


@torch.no_grad()
@pytest.mark.parametrize("n", [CHUNK, 16_000, 2_800, CHUNK + 600])
def test_a_clip_is_transformers(folder: Path, n: int, speech: Tensor) -> None:
    wav = speech[20_000 : 20_000 + n]
    mel, states = theirs(folder, wav)
    teacher = load_teacher(str(folder))
    chunks, _, _ = teacher.front_end(wav[None], torch.tensor([n]))
    torch.testing.assert_close(chunks[0], mel, rtol=0, atol=2e-4)
    t = min(COLUMNS, 1 + (1 + (n - 400) // 160 - 16) // 10)
    assert teacher(wav[None])[1].tolist() == [t]
    torch.testing.assert_close(teacher(wav[None])[0][0], states[-1][:t], rtol=0, atol=2e-4)
    for k in range(4):
        torch.testing.assert_close(
            load_teacher(str(folder), layer=k)(wav[None])[0][0], states[k][:t], rtol=0, atol=2e-4
        )
    assert (teacher.dim, teacher.frame_rate, teacher.min_samples) == (16, 10, 2_800)


@torch.no_grad()
def test_an_encoder(folder: Path, speech: Tensor) -> None:
    """Each patch through the final norm before frequencies are averaged, in extraction and in fine-tuning."""
    wav = speech[None, :CHUNK]
    f = audiokd.load_model(folder).extract_features(wav)
    mel = ASTFeatureExtractor.from_pretrained(folder)(wav[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    model = ASTModel.from_pretrained(folder).eval()
    out = model(**mel, output_hidden_states=True)
    states = [model.layernorm(s) for s in out.hidden_states[1:]]
    torch.testing.assert_close(states[-1], out.last_hidden_state, rtol=0, atol=0)
    frames = [s[:, 2:].reshape(1, ROWS, COLUMNS, 16).mean(1) for s in states]
    for ours, expected in zip(f.hidden_states, frames):
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(f.clip, torch.cat(frames, -1).mean(1), rtol=0, atol=2e-4)
    trained = load_trainable(str(folder)).eval()
    again = build_trainable(shape_of(trained)).eval()  # with the mean and deviation that its preprocessor says
    again.load_state_dict(trained.state_dict())
    assert trained.last_norm == "body.layernorm"
    for encoder in (trained, again):
        torch.testing.assert_close(encoder.extract_features(wav).clip, f.clip, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_longer_clip_is_chunks(folder: Path, speech: Tensor) -> None:
    """The second chunk starts where the patches of the first stop, so that frames come every 100 ms throughout."""
    wav = speech[: STEP + CHUNK]
    got, frames = load_teacher(str(folder))(wav[None])
    assert frames.tolist() == [2 * COLUMNS]
    for i in range(2):
        states = theirs(folder, wav[i * STEP :][:CHUNK])[1]
        torch.testing.assert_close(got[0, i * COLUMNS :][:COLUMNS], states[-1], rtol=0, atol=2e-4)


@torch.no_grad()
def test_in_a_batch_as_alone(folder: Path, speech: Tensor) -> None:
    teacher, lengths = load_teacher(str(folder)), [STEP + CHUNK, 5_001, 50_000, 300]
    wav = torch.stack(
        [speech[s : s + lengths[0]] for s in (0, 20_000, 60_000, 70_000)]
    )  # more speech follows each item
    wav[1, 6_000:] = torch.nan  # which nobody hears
    got, frames = teacher(wav, torch.tensor(lengths))
    assert frames.tolist() == [50, 2, 30, 0]
    for i, n in enumerate(lengths):
        alone, t = teacher(wav[i : i + 1, :n])
        assert t[0] == frames[i]
        torch.testing.assert_close(got[i, : t[0]], alone[0, : t[0]], rtol=0, atol=1e-5)
        assert not got[i, t[0] :].any()
    with pytest.raises(AudiokdError, match="item 3 is too short for a frame"):
        audiokd.load_model(folder).extract_features(wav, torch.tensor(lengths))


def test_gradient_reaches_the_waveform_only(folder: Path, speech: Tensor) -> None:
    teacher, wav = load_teacher(str(folder)), speech[None, : STEP + CHUNK].clone().requires_grad_()
    teacher(wav)[0].square().sum().backward()
    assert wav.grad.isfinite().all()
    assert (wav.grad[0, 1_000 : STEP + CHUNK - 2_000] != 0).float().mean() > 0.99
    assert all(p.grad is None and not p.requires_grad for p in teacher.net.parameters())
    assert not list(teacher.parameters())


def test_a_log_mel_as_it_is(folder: Path, tmp_path: Path) -> None:
    ASTModel.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(AudiokdError, match=r"cannot load preprocessor_config\.json"):
        load_teacher(str(tmp_path))
    extractor = ASTFeatureExtractor(max_length=MAX_LENGTH, do_normalize=False)
    extractor.save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path))
    assert isinstance(teacher, ASTTeacher)
    wav = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    chunks, _, _ = teacher.front_end(wav[None], torch.tensor([16_000]))
    want = extractor(wav.numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(chunks, want, rtol=0, atol=1e-3)
