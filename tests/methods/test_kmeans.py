"""k-means as a tokenizer: its centres, its codes in batches and in pieces, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import audiokd
import audiokd.methods.kmeans.model as of_model
from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.errors import AudiokdError
from audiokd.methods.kmeans.config import KMeansConfig
from audiokd.stages.kmeans import kmeans
from audiokd.stages.tokenize import tokenize
from audiokd.teachers.codes import load_code_teacher
from audiokd.tokens.store import open_store


@pytest.fixture(scope="module")
def corpus(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "wav.scp").write_text(f"two_cities {two_cities}\n")
    (folder / "segments").write_text("".join(f"t-{i:02d} two_cities {2 * i} {2 * i + 2}\n" for i in range(20)))
    return folder


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    path = tmp_path_factory.mktemp("model") / "kmeans"
    return path, kmeans(str(corpus), str(path), clusters=(30, 20), frames=1500)


@pytest.fixture(scope="module")
def speech(two_cities: Path) -> Tensor:
    return torch.from_numpy(load_at(Utterance("a", str(two_cities)), 24_000)[: 4 * 24_000])


def test_centres_say_something_and_are_the_seeds(
    made: tuple[Path, dict[str, float]], corpus: Path, tmp_path: Path
) -> None:
    path, said = made
    assert said["frames"] == 1500
    assert 0 < said["log_mel"] < 0.35  # of the variance is left
    assert 0 < said["chroma"] < 0.5
    again = kmeans(str(corpus), str(tmp_path / "again"), clusters=(30, 20), frames=1500)
    assert again == said
    a, b = (audiokd.load_tokenizer(p) for p in (path, tmp_path / "again"))
    assert torch.equal(a.log_mel, b.log_mel)
    kmeans(str(corpus), str(tmp_path / "other"), clusters=(30, 20), frames=1500, seed=1)
    assert not torch.equal(a.log_mel, audiokd.load_tokenizer(tmp_path / "other").log_mel)


def test_codes_are_the_nearest_centres(made: tuple[Path, dict[str, float]], speech: Tensor) -> None:
    model = audiokd.load_tokenizer(made[0])
    codes = model.encode(speech[None, :24_001])
    assert codes.codes.shape == (1, 2, 76)
    assert (model.cardinality, model.frame_rate) == ([30, 20], 75.0)
    for q, (name, x) in enumerate(model.features(speech[None, :24_001]).items()):
        distances = torch.cdist(x[0].double(), model.get_parameter(name).double())
        best, mine = distances.min(-1).values, distances[torch.arange(76), codes.codes[0, q]]
        torch.testing.assert_close(mine, best, atol=1e-3, rtol=0)
    assert len(codes.codes[0, 0].unique()) > 5


def test_a_clip_does_not_hear_its_batch(
    made: tuple[Path, dict[str, float]], speech: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = audiokd.load_tokenizer(made[0])
    lengths = torch.tensor([48_000, 1, 24_001])
    wav = torch.stack([speech[:48_000], speech[20_000:68_000], speech[48_000:]])
    batch = model.encode(wav, lengths)
    alone = [model.encode(wav[i : i + 1, :n]).codes[0] for i, n in enumerate(lengths.tolist())]
    assert all(torch.equal(batch[i].codes[0], a) for i, a in enumerate(alone))
    monkeypatch.setattr(of_model, "PIECE", 31)
    assert torch.equal(model.encode(wav, lengths).codes, batch.codes)
    for i, n in enumerate(lengths.tolist()):
        streamed = model.encode_long(wav[i, :n].split(5003))
        assert torch.equal(streamed.codes[0], alone[i])
        assert streamed.num_samples.tolist() == [n]
    assert model.piece_s == pytest.approx(31 / 75)
    with pytest.raises(AudiokdError, match="an empty waveform has no codes"):
        model.encode_long([])


def test_as_a_tokenizer_and_a_teacher(made: tuple[Path, dict[str, float]], corpus: Path, tmp_path: Path) -> None:
    totals = tokenize(str(made[0]), str(corpus), str(tmp_path / "store"))
    assert totals["utterances"] == 20
    assert open_store(tmp_path / "store").meta["cardinality"] == [30, 20]
    teacher = load_code_teacher(str(made[0]))
    assert (teacher.cardinality, teacher.frame_rate) == ([30, 20], 75.0)
    assert not list(teacher.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_teacher_says_the_same_under_autocast(
    made: tuple[Path, dict[str, float]], speech: Tensor, dtype: torch.dtype
) -> None:
    """In float16, squares of decibels overflow: every frame had another code."""
    teacher = load_code_teacher(str(made[0]))
    expected = teacher.targets({"wav": speech[None]})["codes"]
    with torch.autocast("cpu", dtype):
        assert torch.equal(teacher.targets({"wav": speech[None]})["codes"], expected)


def test_one_feature_alone(corpus: Path, speech: Tensor, tmp_path: Path) -> None:
    kmeans(str(corpus), str(tmp_path / "chroma"), clusters=(0, 20), frames=500)
    model = audiokd.load_tokenizer(tmp_path / "chroma")
    assert model.encode(speech[None]).codes.shape == (1, 1, 300)
    assert not hasattr(model, "log_mel")


def test_what_is_refused(made: tuple[Path, dict[str, float]], corpus: Path, speech: Tensor, tmp_path: Path) -> None:
    model = audiokd.load_tokenizer(made[0])
    with pytest.raises(AudiokdError, match="cannot be turned into sound"):
        model.decode(model.encode(speech[None]))
    with pytest.raises(AudiokdError, match="3 codebooks asked of a model that has 2"):
        model.set_num_codebooks(3)
    with pytest.raises(AudiokdError, match="not both 0"):
        KMeansConfig(clusters=(0, 0))
    with pytest.raises(AudiokdError, match="2000 frames for 5000 clusters"):
        kmeans(str(corpus), str(tmp_path / "many"), clusters=(5000, 0))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.wav").write_bytes(b"nothing")
    np.save(bad / "ignored.npy", np.zeros(1))
    with pytest.raises(AudiokdError, match="1 of 1 utterances cannot be read"):
        kmeans(str(bad), str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
