"""The page of a run shows its tokens' histograms, what repeats and what to listen to, with players where there is audio."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import yaml

from audiokd.stages.report import report
from audiokd.tokens.store import StoreItem, StoreWriter

RATE, FRAME = 16000, 160
CONFIG = {
    "method": "rvq_vae",
    "model": {"n_codebooks": 1, "sample_rate": RATE, "rates": [FRAME]},
    "run": {"max_steps": 1, "seed": 0},
}


@pytest.fixture
def run(tmp_path: Path, beckett: Path) -> Path:
    """A run whose tokens are the recording's samples in 64 steps, half a second an utterance, and one that stands still."""
    x, rate = sf.read(beckett)
    assert rate == RATE
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    data = tmp_path / "data"
    data.mkdir()
    cuts = [x[i * 8000 : (i + 1) * 8000] for i in range(18)]
    codes = [np.clip((c[::FRAME] * 200 + 32).round(), 0, 63).astype(int)[None] for c in cuts]
    codes[11] = np.full_like(codes[11], 5)
    ids = [f"reader-{i:02d}" for i in range(len(cuts))]
    (data / "wav.scp").write_text(f"reader {beckett}\n")
    (data / "segments").write_text("".join(f"{u} reader {i / 2} {i / 2 + 0.5}\n" for i, u in enumerate(ids)))
    meta = {"sample_rate": RATE, "frame_rate": RATE / FRAME, "cardinality": [64]}
    writer = StoreWriter(tmp_path / "exp" / "tokens" / "test", "codes", meta)
    writer.write_shard(
        "00000",
        [StoreItem(u, c, 8000, RATE, None, "ann" if i < 9 else "bob") for i, (u, c) in enumerate(zip(ids, codes))],
    )
    writer.finish(["00000"])
    (tmp_path / "utt2lang").write_text("ann en\nbob ga\n")
    return tmp_path


def test_tokens_on_the_page(run: Path) -> None:
    page = Path(report(str(run / "exp"), ref=str(run / "data"), samples=1, languages=str(run / "utt2lang"))).read_text()
    sections = dict(re.findall(r"<h2>(.*?)</h2>\n(.*?)</section>", page, re.S))
    assert list(sections)[:6] == [
        *("Codebooks", "Tokens", "Repetition", "Use by speaker", "Use by language", "Utterances to listen to")
    ]
    assert "<svg" in sections["Codebooks"]
    assert "ann" in sections["Use by speaker"]
    assert "ga" in sections["Use by language"]
    worst = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', sections["Utterances to listen to"], re.S)
    assert worst[0][0] == "reader-11"
    assert "98% of its 4-grams stood in it before" in worst[0][1]
    heard = sections["Listen to the outliers"]
    assert heard.count("<audio") == 1
    assert "reader-11" in heard
    assert "repetition: 98% of its 4-grams" in heard


def test_without_recordings_there_are_no_players(run: Path) -> None:
    page = Path(report(str(run / "exp"))).read_text()
    assert "Utterances to listen to" in page
    assert "Listen to the outliers" not in page
    assert "Use by language" not in page
