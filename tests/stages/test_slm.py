"""A speech language model learns 20 utterances by heart, both ways; and what `audiokd slm` says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from speech_lm_stores import make_store, make_tokenizer

from audiokd.cli import main
from audiokd.errors import AudiokdError, ConfigError
from audiokd.eval.asr import cer, normalise_text
from audiokd.eval.speech_lm import other
from audiokd.stages.slm import slm
from audiokd.tokens.store import open_store

STEPS = 200
OPTIONS = f"""--run.max_steps {STEPS} --run.val_every {STEPS} --run.accelerator cpu --data.batch_size 20 --data.pack_length 256
  --model.hidden 128 --model.layers 2 --model.heads 2 --model.ffn 256 --model.dropout 0 --optim.lr 3e-3
  --optim.warmup_steps 20 --optim.weight_decay 0"""


@pytest.fixture(scope="module")
def folder(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 stretches of 2.2 s, 560 tokens of a real recording and its 117 words, trained on and exported."""
    root = tmp_path_factory.mktemp("slm")
    tokenizer = make_tokenizer(root / "tokenizer")
    store = str(make_store(root / "store", two_cities, tokenizer, range(20)))
    exp = str(root / "exp")
    main(["fit", "speech_lm", "--train", store, "--dev", store, "--exp_dir", exp, *OPTIONS.split()])
    main(["export", exp, str(root / "exp" / "export")])
    return root


def units(codes: Any) -> str:
    """Codes [1, T'] as a text of one character each."""
    return "".join(chr(0xF0000 + int(c)) for c in np.asarray(codes)[0])


@pytest.mark.slow
def test_twenty_utterances_by_heart(folder: Path, whisper_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under 5 % both ways: characters of the text, and tokens of the speech (equal tokens are equal sound)."""
    out = folder / "slm.json"
    model, store, tokenizer = str(folder / "exp" / "export"), str(folder / "store"), str(folder / "tokenizer")
    result = slm(model, store, str(out), system="heart")
    rows = {r["id"]: r for r in json.loads(out.read_text())["utterances"]}
    tokens = open_store(store)
    assert len(rows) == 20
    assert cer([normalise_text(tokens[i].text or "") for i in rows], [r["stt_text"] for r in rows.values()]) < 0.05
    assert cer([units(tokens[i].array) for i in rows], [units(r["tts_codes"]) for r in rows.values()]) < 0.05
    assert result["cut"] == {"tts": 0, "stt": 0}

    s = {k: v["mean"] for k, v in result["summary"].items()}
    assert s["stt_cer"] < 0.05 < 0.5 < s["stt_cer_floor"]
    seconds, characters = result["seconds"], result["characters"]
    assert seconds == pytest.approx(sum(u.num_samples / 16000 for u in tokens.items()), abs=0.01)
    assert characters == sum(len(normalise_text(u.text or "")) for u in tokens.items())
    assert s["tts_bits"] == pytest.approx(sum(r["tts"] for r in rows.values()) / seconds, rel=1e-4)
    assert s["stt_bits"] == pytest.approx(sum(r["stt"] for r in rows.values()) / characters)
    for side in ("tts", "stt"):  # it has learnt to look at the source: another's is worse than none
        assert 4 * s[f"{side}_bits"] < s[f"{side}_alone_bits"] < s[f"{side}_shuffled_bits"]
        assert s[f"{side}_gain_bits"] == pytest.approx(s[f"{side}_shuffled_bits"] - s[f"{side}_bits"])

    # with sound: two utterances, read by a real ASR; what is generated sounds as the true tokens do
    heard = folder / "exp" / "scores" / "test.json"
    capsys.readouterr()
    options = ["--tokenizer", tokenizer, "--asr", str(whisper_dir), "--limit", "2", "--language", "en"]
    options += ["--teacher", str(whisper_dir)]
    main(["slm", model, store, "--out", str(heard), *options])
    assert f"{heard}: 20 utterances scored, 2 generated" in capsys.readouterr().out
    result = json.loads(heard.read_text())
    assert (result["num_utterances"], result["num_generated"], result["system"]) == (20, 2, "exp")
    assert result["summary"]["tts_bits"]["mean"] == pytest.approx(s["tts_bits"])
    for row in result["utterances"][:2]:
        wavs = {k: sf.read(heard.with_suffix("") / k / f"{row['id']}.wav") for k in ("tts", "real")}
        assert wavs["tts"][1] == 16000
        assert len(wavs["real"][0]) == 28 * 1280
        if units(row["tts_codes"]) == units(tokens[row["id"]].array):
            assert np.array_equal(wavs["tts"][0], wavs["real"][0])
            assert row["tts_text"] == row["real_text"]
    assert result["summary"].keys() >= {"tts_cer", "tts_wer", "tts_cer_floor", "real_cer", "real_wer"}
    table = heard.with_suffix(".md").read_text()
    assert "| text -> speech, bit/s of audio |" in table
    assert f"| text -> speech, read by {whisper_dir.name}, teacher-scored |" in table
    assert "exp: 20 utterances, 44 s" in table
    before = heard.read_bytes()
    main(["slm", model, store, "--out", str(heard), *options])
    assert "stands already" in capsys.readouterr().out
    assert heard.read_bytes() == before
    main(["report", str(folder / "exp")])
    assert "true tokens, read by" in capsys.readouterr().out
    page = (folder / "exp" / "report.html").read_text()
    assert "2 layers of 128, from scratch; semantic codebooks" in page
    for words in (
        "Teacher-forced",
        "Free generation",
        "generated from the text",
        "written from its tokens",
        "stt_nats",
    ):
        assert words in page
    assert page.count("<audio") == 4


@pytest.mark.slow
def test_what_does_not_belong_together(folder: Path, two_cities: Path, tmp_path: Path) -> None:
    model, store = str(folder / "exp" / "export"), str(folder / "store")
    out = str(tmp_path / "x.json")
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    with torch.no_grad():
        next(tokenizer.parameters()).add_(1e-3)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    another = str(make_store(tmp_path / "store", two_cities, tokenizer, range(2)))
    with pytest.raises(AudiokdError, match=r"knows the tokens of model \w{12}, the store was made by \w{12}"):
        slm(model, another, out)
    with pytest.raises(AudiokdError, match=r"speaks tokens of model \w{12}, this tokenizer is \w{12}"):
        slm(model, store, out, tokenizer=str(tmp_path / "tokenizer"), limit=1)
    with pytest.raises(AudiokdError, match="cannot load the language model"):
        slm(str(tmp_path), store, out)
    for nothing in (str(tmp_path / "nothing"), "nothing"):  # no hub is asked for a folder
        with pytest.raises(AudiokdError, match="no such folder"):
            slm(nothing, store, out)
    with pytest.raises(ConfigError, match="needs --tokenizer"):
        slm(model, store, out, asr="whisper")
    assert not Path(out).exists()


@pytest.mark.slow
def test_delayed_streams_by_heart(folder: Path, two_cities: Path, tmp_path: Path) -> None:
    """Six utterances, all three streams; the sound is the main decoder's."""
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    store = str(make_store(tmp_path / "store", two_cities, tokenizer, range(6)))
    options = OPTIONS.replace(f"max_steps {STEPS}", "max_steps 120").replace("batch_size 20", "batch_size 12").split()
    exp = str(tmp_path / "exp")
    main(["fit", "speech_lm", "--codebooks", "delay", "--train", store, "--dev", store, "--exp_dir", exp, *options])
    main(["export", exp, str(tmp_path / "exp" / "export")])
    out = tmp_path / "slm.json"
    result = slm(str(tmp_path / "exp" / "export"), store, str(out), tokenizer=str(tmp_path / "tokenizer"))
    tokens = open_store(store)
    rows = json.loads(out.read_text())["utterances"]
    for q in range(3):
        told = [units(np.array(r["tts_codes"])[q:]) for r in rows]
        assert cer([units(tokens[r["id"]].array[q:]) for r in rows], told) < 0.05
    assert result["summary"]["stt_cer"]["mean"] < 0.05
    assert rows[0]["tts"] == pytest.approx(sum(rows[0]["tts_streams"]))
    for row in rows[:2]:
        real, rate = sf.read(tmp_path / "slm" / "real" / f"{row['id']}.wav", dtype="float32")
        whole, _ = tokenizer.decode(torch.from_numpy(tokens[row["id"]].array)[None])
        assert (len(real), rate) == (whole.shape[1], tokenizer.sample_rate)
        assert np.abs(real - whole[0].numpy()).max() < 1e-3


def test_the_other_of_a_floor() -> None:
    for n in (2, 3, 7, 40):
        assert sorted(other(i, n) for i in range(n)) == list(range(n))
        assert all(other(i, n) != i for i in range(n))
