"""The speech language model's recipe on a small corpus' tokens, from the stores to scores and a dataset; and its configs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch
from method_settings import settings_of
from recipe_copies import ENV, REPO
from speech_lm_stores import make_store, make_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

import audiokd.conf
from audiokd.hub.auto import part
from audiokd.methods.speech_lm.data import PairDataset, pack
from audiokd.methods.speech_lm.model import create
from audiokd.methods.speech_lm.pairs import PairSet, read_pairs
from audiokd.methods.speech_lm.run import speech_of
from audiokd.methods.speech_lm.vocabulary import character_tokenizer
from audiokd.stages.fit import flatten, read_config
from audiokd.tokens.lm_text import from_lm_text

CONFIGS = sorted(p.stem for p in (Path(audiokd.conf.__file__).parent / "speech_lm").glob("*.yaml"))


@pytest.mark.slow
def test_from_stores_to_scores(two_cities: Path, tmp_path: Path) -> None:
    shutil.copytree(REPO / "recipes", tmp_path / "recipes")
    task, tok1 = tmp_path / "egs" / "corpus" / "slm1", tmp_path / "egs" / "corpus" / "tok1"
    shutil.copytree(REPO / "egs" / "festvox_ru" / "slm1", task)
    tokenizer = make_tokenizer(tok1 / "exp" / "small" / "export")
    for name, ids in (("train", range(12)), ("dev", range(12, 15)), ("test", range(15, 20))):
        make_store(tok1 / "exp" / "small" / "tokens" / name, two_cities, tokenizer, ids)
    words = ["./run.sh", "--config", "speech_lm/debug", "--asr", "", "--language", "en", "--stop_stage", "publish"]
    words += ["--fit_args", "--run.accelerator cpu", "--score_args", "--limit 2 --max_duration_s 3 --temperature 1"]
    run = subprocess.run(words, cwd=task, env=ENV, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "text -> speech, bit/s of audio  " in run.stdout
    assert "Free generation" in (task / "exp" / "small" / "report.html").read_text()
    found = json.loads((task / "exp" / "small" / "scores" / "test.json").read_text())
    assert (found["num_utterances"], found["num_generated"], found["system"]) == (5, 2, "small")
    wav, rate = sf.read(task / "exp" / "small" / "scores" / "test" / "tts" / "dickens" / "15.wav")
    assert rate == 16000
    assert 0 < len(wav) <= 3 * 16000 + 1280
    rows = pq.read_table(task / "exp" / "small" / "dataset" / "data" / "test-00000-of-00001.parquet").to_pylist()
    assert [from_lm_text(r["speech"]).tolist() for r in rows] == [r["codes"][0] for r in rows]
    assert len(rows) == 5


@pytest.fixture(scope="module")
def pairs(two_cities: Path, tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    root = tmp_path_factory.mktemp("slm")
    return read_pairs(str(make_store(root / "store", two_cities, make_tokenizer(root / "tokenizer"), range(4))))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_packaged_config_takes_a_step(name: str, pairs: PairSet, tmp_path: Path) -> None:
    """Hub models stand in as a folder of their kind: no hub is asked."""
    flat = read_config(f"speech_lm/{name}")
    assert flat.keys() <= flatten(dataclasses.asdict(part("speech_lm", "settings")())).keys()
    if flat.get("model.name"):
        assert flat["model.name"] == "Qwen/Qwen2.5-0.5B"
        tokenizer = character_tokenizer(p.text for p in pairs.pairs)
        tokenizer.add_tokens(["<|endoftext|>"], special_tokens=True)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
        Qwen2ForCausalLM(Qwen2Config(vocab_size=300, num_hidden_layers=2, **sizes)).save_pretrained(tmp_path / "qwen")
        tokenizer.save_pretrained(tmp_path / "qwen")
        flat["model.name"] = str(tmp_path / "qwen")
    settings = settings_of("speech_lm", flat)
    torch.manual_seed(0)
    lm = create(settings.model, speech_of(pairs, settings), pairs.pairs).train()
    data = PairDataset(pairs, lm.vocab, settings.data, 0)
    batch = pack([data[0, i] for i in range(4)], settings.data.pack_length)
    nats, counts = lm(batch)
    (nats.sum() / counts.sum()).backward()
    module = part("speech_lm", "module")(settings, lm)
    optimizer = module.configure_optimizers()
    before = lm.lm.get_input_embeddings().weight.detach().clone()
    optimizer.step()
    assert not torch.equal(before, lm.lm.get_input_embeddings().weight)
