"""Progress is counted by utterance, in this process and in others: one long shard must not look like a hang."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.stages.tokenize import tokenize


@pytest.mark.parametrize("nj", [1, 2])
def test_every_utterance_is_counted(
    two_cities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], nj: int
) -> None:
    torch.manual_seed(0)
    shape = {"encoder_dim": 2, "latent_dim": 16, "decoder_dim": 32, "aux_dim": 16}
    LMSPTModel(LMSPTConfig(**shape, semantic_codebook_size=16, acoustic_codebook_size=16)).save_pretrained(
        tmp_path / "m"
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"two_cities {two_cities}\n")
    rows = [f"t-{i} two_cities {i} {i + 1}\n" for i in range(5)]
    (tmp_path / "data" / "segments").write_text("".join(rows))
    tokenize(str(tmp_path / "m"), str(tmp_path / "data"), str(tmp_path / "s"), shard_size=3, nj=nj, threads=1)
    assert "codes 100% 5/5 utterances" in capsys.readouterr().err
