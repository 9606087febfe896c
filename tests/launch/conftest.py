"""A tokenizer of a few weights, a corpus of real speech in shards of one second, and its tokens by one undisturbed process."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch_stores import SHARDS

from audiokd.stages.tokenize import tokenize


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch

    from audiokd.methods.lm_spt.config import LMSPTConfig
    from audiokd.methods.lm_spt.model import LMSPTModel

    torch.manual_seed(0)
    shape = {"encoder_dim": 2, "latent_dim": 16, "decoder_dim": 32, "aux_dim": 16}
    config = LMSPTConfig(**shape, semantic_codebook_size=16, acoustic_codebook_size=16)
    folder = tmp_path_factory.mktemp("tiny")
    LMSPTModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def spoken(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    data = tmp_path_factory.mktemp("spoken")
    (data / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i:03d} two_cities {1.5 * i:.2f} {1.5 * i + 1:.2f}\n" for i in range(SHARDS)]
    (data / "segments").write_text("".join(rows))
    return str(data)


@pytest.fixture(scope="session")
def whole(tiny: str, spoken: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "tokens"
    tokenize(tiny, spoken, str(store), shard_size=1, threads=1)
    return store
