"""The speech language model on tokens of a real recording: packing, targets, vocabulary, generation, a run killed and gone on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech_lm_stores import make_store, make_tokenizer, tiny
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from audiokd.errors import AudiokdError
from audiokd.hub.auto import part
from audiokd.methods.speech_lm.data import PairDataset, pack
from audiokd.methods.speech_lm.delay import EMPTY
from audiokd.methods.speech_lm.examples import KINDS, example, prompt
from audiokd.methods.speech_lm.generate import Sampling, speech_to_text, text_to_speech
from audiokd.methods.speech_lm.model import SPEECH, SpeechLM, create, load
from audiokd.methods.speech_lm.pairs import PairSet, plain_text, read_pairs
from audiokd.methods.speech_lm.settings import (
    LMOptimSettings,
    PairSettings,
    SpeechLMSettings,
    SpeechLMShape,
)
from audiokd.methods.speech_lm.vocabulary import character_tokenizer
from audiokd.stages.export import export
from audiokd.stages.fit import fit
from audiokd.training.settings import RunSettings

BOTH = pytest.mark.parametrize("codebooks", ["semantic", "delay"])
ALL = pytest.mark.parametrize("codebooks", ["semantic", "delay", "aligned", "aligned delay"])


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def store(two_cities: Path, tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("stores") / "train", two_cities, make_tokenizer(tokenizer_dir), range(20))


@pytest.fixture(scope="module")
def pairs(store: Path) -> PairSet:
    return read_pairs(str(store))


@pytest.fixture(scope="module")
def models(pairs: PairSet) -> dict[str, SpeechLM]:
    return {
        "semantic": tiny(pairs),
        "delay": tiny(pairs, "delay"),
        "aligned": tiny(pairs, aligned=True),
        "aligned delay": tiny(pairs, "delay", aligned=True),
    }


def examples(lm: SpeechLM, pairs: PairSet, kinds: tuple[str, ...] = KINDS) -> list[Any]:
    """Every kind, of utterances of different lengths."""
    texts = lm.vocab.encode([p.text for p in pairs.pairs])
    codes = [pairs.store[p.id].array for p in pairs.pairs]
    return [example(kind, texts[i], codes[i][:, : 10 + 3 * i], lm.vocab, id=str(i)) for i in range(6) for kind in kinds]


# --- packing and targets ---


@ALL
def test_packed_equals_alone(models: dict[str, SpeechLM], pairs: PairSet, codebooks: str) -> None:
    lm = models[codebooks]
    all_of_them = examples(lm, pairs)
    batch = pack(all_of_them, 200)
    assert len(batch["tokens"]) < len(all_of_them) / 2  # rows do hold several
    with torch.no_grad():
        nats, counts = lm(batch)
        alone = [lm(pack([e], 1)) for e in all_of_them]
    torch.testing.assert_close(nats, torch.cat([n for n, _ in alone]), rtol=1e-5, atol=1e-4)
    assert torch.equal(counts, torch.cat([c for _, c in alone]))
    changed = [
        e if i else example("tts", [3, 4, 5], np.zeros((3, 50), int), lm.vocab) for i, e in enumerate(all_of_them)
    ]
    with torch.no_grad():
        again, _ = lm(pack(changed, 200))
    torch.testing.assert_close(again[1:], nats[1:], rtol=1e-5, atol=1e-4)  # a neighbour is not seen
    assert not torch.allclose(again[0], nats[0])


@BOTH
def test_only_the_target_is_told(models: dict[str, SpeechLM], pairs: PairSet, codebooks: str) -> None:
    """Counts are those of text or speech with one end token; what comes before decides nothing but its own prediction."""
    lm = models[codebooks]
    text, codes = [3, 4, 5, 6], pairs.store[pairs.pairs[0].id].array[:, :9]
    for kind in KINDS:
        e = example(kind, text, codes, lm.vocab)
        _, counts = lm(pack([e], 1))
        each, more = (5, 0) if kind in ("stt", "text") else (10, 9)  # with the end, which the first stream tells
        expected = [each] + [more] * (lm.vocab.streams - 1)
        assert counts[0].tolist() == expected, kind
        before = prompt(kind, text, codes, lm.vocab)
        assert (e.tokens[: e.start] == before).all()
        assert (e.labels[: e.start - 1] == EMPTY).all()
        assert (e.labels != EMPTY).sum() == sum(expected)


def test_aligned_positions(models: dict[str, SpeechLM], pairs: PairSet) -> None:
    """Both sides start at 0, and a text token takes as many positions as the training set has frames a token."""
    vocab, codes = models["aligned"].vocab, np.zeros((1, 4), int)
    step = sum(p.frames for p in pairs.pairs) / sum(len(p.text) for p in pairs.pairs)
    assert vocab.text_step == pytest.approx(step, abs=1e-4)
    text, speech = [0, step, 2 * step, 3 * step], [0, 1, 2, 3, 4]
    expected = {
        "tts": [*text, *speech, 5],
        "stt": [*speech, *text, 4 * step],
        "speech": [*speech, 5],
        "text": [*text, 4 * step],
    }
    for kind, at in expected.items():
        assert example(kind, [5, 6, 7], codes, vocab).positions == pytest.approx(at, abs=1e-3), kind
    assert example("tts", [5, 6, 7], codes, models["semantic"].vocab).positions.tolist() == [*range(10)]


def test_semantic_loss_is_transformers_own(models: dict[str, SpeechLM], pairs: PairSet, tmp_path: Path) -> None:
    """The exported folder is a plain causal LM with its tokenizer: its loss over the written-out tokens is ours."""
    lm = models["semantic"]
    lm.save(tmp_path)
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert type(plain).__name__ == "LlamaForCausalLM"
    codes, pair = pairs.store[pairs.pairs[4].id].array[:1], pairs.pairs[4]
    speech = "".join(f"<|s_{c}|>" for c in codes[0])
    told = {"tts": (f"<|text|>{pair.text}<|speech|>", speech), "stt": (f"<|speech|>{speech}<|text|>", pair.text)}
    for kind, (source, target) in told.items():
        ids = tokenizer(f"{source}{target}<|end|>", add_special_tokens=False, return_tensors="pt")["input_ids"]
        labels = ids.clone()
        labels[:, : len(tokenizer(source, add_special_tokens=False)["input_ids"])] = -100
        theirs = plain(input_ids=ids, labels=labels).loss
        e = example(kind, lm.vocab.encode([pair.text])[0], codes, lm.vocab)
        assert (ids[0].numpy() == e.tokens[:, 0]).all()
        nats, counts = lm(pack([e], 1))
        torch.testing.assert_close(nats.sum() / counts.sum(), theirs, rtol=1e-5, atol=1e-5)
    assert tokenizer.decode(ids[0]).endswith("<|end|>")


def test_a_step_s_draws_depend_on_seed_and_step_alone(models: dict[str, SpeechLM], pairs: PairSet) -> None:
    settings = PairSettings(unconditional=0.25)
    first, second = (PairDataset(pairs, models["semantic"].vocab, settings, 7) for _ in range(2))
    keys = [(step, i) for step in range(30) for i in range(20)]
    drawn = [first[k].kind for k in keys]
    assert drawn[::-1] == [second[k].kind for k in reversed(keys)]
    share = {k: drawn.count(k) / len(drawn) for k in KINDS}
    assert share["tts"] == pytest.approx(0.375, abs=0.06)
    assert share["stt"] == pytest.approx(0.375, abs=0.06)
    assert share["speech"] + share["text"] == pytest.approx(0.25, abs=0.06)
    assert PairDataset(pairs, models["semantic"].vocab, settings, 8)[0, 0].id == first[0, 0].id
    other = PairDataset(pairs, models["semantic"].vocab, settings, 8)
    assert [other[k].kind for k in keys] != drawn


# --- vocabulary and texts ---


def test_any_text_comes_back(models: dict[str, SpeechLM]) -> None:
    vocab = models["semantic"].vocab
    for text in ("it was the age", "Ёлка — 你好 🙂", "<|s_3|> is text here <|end|>", " two  spaces "):
        ids = vocab.encode([text])[0]
        assert max(ids) < vocab.text_size
        assert vocab.decode(ids) == text
    assert len(vocab.encode(["it was"])[0]) == 6
    assert character_tokenizer(["ab", "bc"]).decode([256, 257, 258]) == "abc"


def test_plain_text() -> None:
    assert plain_text("«Don’t» — сказал Ёж, 20 раз:  'нет'!") == "don't сказал ёж 20 раз нет"
    assert plain_text("naïve e\u0301te") == "naïve éte"
    assert plain_text(" ... ") == ""


def test_a_hub_model_is_extended(pairs: PairSet, tmp_path: Path) -> None:
    """A folder in the form of Qwen2.5: more rows than tokens, tied matrices."""
    torch.manual_seed(3)
    tokenizer = character_tokenizer([p.text for p in pairs.pairs])
    tokenizer.add_tokens(["<|endoftext|>"], special_tokens=True)  # as every Qwen has
    size = len(tokenizer)
    config = Qwen2Config(
        vocab_size=size + 5, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    base = Qwen2ForCausalLM(config)
    base.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = tiny(pairs, name=str(tmp_path))
    assert type(lm.lm).__name__ == "Qwen2ForCausalLM"
    rows = lm.lm.get_input_embeddings().weight
    assert lm.lm.get_output_embeddings().weight is rows
    assert len(rows) == size + 3 + 128 == len(lm.vocab)
    old = base.get_input_embeddings().weight
    assert torch.equal(rows[:size], old[:size])
    torch.testing.assert_close(rows[size:], old[:size].mean(0).expand(131, -1))
    assert lm.lm.config.eos_token_id == lm.vocab.end
    nats, _ = lm(pack(examples(lm, pairs), 200))
    assert torch.isfinite(nats).all()
    with pytest.raises(AudiokdError, match="no such folder"):
        create(SpeechLMShape(str(tmp_path / "missing")), lm.speech, [])
    with pytest.raises(AudiokdError, match="without speech tokens"):
        load(tmp_path)
    lm.save(tmp_path / "extended")
    with pytest.raises(AudiokdError, match="some of the speech tokens already"):
        create(SpeechLMShape(name=str(tmp_path / "extended")), lm.speech, [])


# --- generation ---


@ALL
@pytest.mark.parametrize("how", [Sampling(), Sampling(1.0, 20, 5)], ids=["greedy", "sampled"])
def test_generated_in_a_batch_or_alone(
    models: dict[str, SpeechLM], pairs: PairSet, codebooks: str, how: Sampling
) -> None:
    lm = models[codebooks]
    some = [pairs.pairs[i] for i in (0, 4, 11)]
    keys, texts = [p.id for p in some], [p.text[: 4 + 5 * i] for i, p in enumerate(some)]
    codes = [pairs.store[k].array[:, : 20 + 10 * i] for i, k in enumerate(keys)]
    spoken, written = text_to_speech(lm, texts, keys, 12, how), speech_to_text(lm, codes, keys, 12, how)
    for i in range(3):
        one = text_to_speech(lm, texts[i : i + 1], keys[i : i + 1], 12, how)[0]
        assert (one.codes == spoken[i].codes).all()
        assert one.ended == spoken[i].ended
        assert speech_to_text(lm, codes[i : i + 1], keys[i : i + 1], 12, how) == written[i : i + 1]
        assert spoken[i].codes.shape[0] == lm.vocab.streams
        assert 1 <= spoken[i].codes.shape[1] <= 12
        for row, size in zip(spoken[i].codes, lm.vocab.cardinality):
            assert 0 <= row.min() <= row.max() < size
    if how.temperature:
        other = text_to_speech(lm, texts, keys, 12, Sampling(1.0, 20, 6))
        assert any(a.codes.shape != b.codes.shape or (a.codes != b.codes).any() for a, b in zip(spoken, other))


@ALL
def test_each_greedy_token_is_the_likeliest(models: dict[str, SpeechLM], pairs: PairSet, codebooks: str) -> None:
    """Without a cache: feed what was generated, with its end, and hold every token against the teacher-forced argmax."""
    lm = models[codebooks]
    text = pairs.pairs[2].text
    made = text_to_speech(lm, [text], ["x"], 15)[0]
    e = example("tts", lm.vocab.encode([text])[0], made.codes, lm.vocab)
    batch = pack([e], 1)
    with torch.no_grad():
        size = len(e.tokens)
        mask = torch.full((size, size), torch.finfo(torch.float32).min).triu(1)[None, None]
        x = lm.embed(batch["tokens"])
        at = batch["positions"]
        out = lm.lm.base_model(
            inputs_embeds=x, attention_mask=mask, position_ids=at, use_cache=False
        ).last_hidden_state[0]
    for q in range(lm.vocab.streams):
        first = lm.vocab.head(q)[0]
        for step in np.flatnonzero(e.labels[:, q] != EMPTY):
            logits = lm.head(out[step : step + 1], q)[0]
            logits[: lm.vocab.offsets[q] - first] = -torch.inf if q else logits[: lm.vocab.offsets[q]]
            if q == 0:
                end = logits[lm.vocab.end].clone()
                logits[: lm.vocab.offsets[0]] = -torch.inf
                logits[lm.vocab.end] = -torch.inf if step == e.start - 1 else end
            token = e.labels[step, q] - first
            if token == lm.vocab.end and not made.ended:
                continue  # the guard's
            assert logits[token] >= logits.max() - 1e-4


def test_greedy_is_transformers_generate(models: dict[str, SpeechLM], pairs: PairSet) -> None:
    lm = models["semantic"]
    codes = pairs.store[pairs.pairs[1].id].array
    ids = torch.from_numpy(prompt("stt", [], codes, lm.vocab)[:, 0])[None]
    speech = [lm.vocab.text, lm.vocab.speech, *range(lm.vocab.offsets[0], len(lm.vocab))]
    theirs = lm.lm.generate(ids, max_new_tokens=10, do_sample=False, suppress_tokens=speech)[0, ids.shape[1] :].tolist()
    theirs = theirs[: theirs.index(lm.vocab.end)] if lm.vocab.end in theirs else theirs
    mine = speech_to_text(lm, [codes], ["x"], 10)[0]
    assert mine.text == lm.vocab.decode(theirs).strip()


# --- stores and runs ---


def settings_of(codebooks: str = "semantic", **run: Any) -> SpeechLMSettings:
    where = {"max_steps": 7, "val_every": 3, "ckpt_every": 2, "log_every": 1, "accelerator": "cpu", **run}
    shape = SpeechLMShape(hidden=32, layers=2, heads=2, ffn=64, dropout=0.1, token_dropout=0.1)
    data = PairSettings(batch_size=4, pack_length=128)
    return SpeechLMSettings(codebooks, shape, data, LMOptimSettings(warmup_steps=2), RunSettings(**where))  # type: ignore[arg-type]


def logged(exp: Path) -> dict[tuple[str, str, str], str]:
    with open(exp / "metrics.csv") as f:
        return {(r["step"], r["split"], r["name"]): r["value"] for r in csv.DictReader(f)}


@BOTH
def test_a_run_that_died_goes_on_exactly(
    store: Path, tmp_path: Path, codebooks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = settings_of(codebooks)
    fit("speech_lm", settings, str(store), str(store), str(whole))
    module = part("speech_lm", "module")
    step = module.training_step

    def dies(self: Any, batch: Any, batch_idx: int) -> None:
        if self.iteration == 5:
            raise RuntimeError("power cut")
        step(self, batch, batch_idx)

    with monkeypatch.context() as m:
        m.setattr(module, "training_step", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            fit("speech_lm", settings, str(store), str(store), str(broken))
    held = torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)["iteration"]
    assert held == 4
    got = fit("speech_lm", settings, str(store), str(store), str(broken))
    assert logged(whole) == logged(broken)
    for name in ("last", "best"):
        a, b = (torch.load(d / "checkpoints" / f"{name}.ckpt", weights_only=True) for d in (whole, broken))
        assert a["iteration"] == b["iteration"]
        assert all(torch.equal(v, b["state_dict"][k]) for k, v in a["state_dict"].items())
    assert got["loss"] < float(logged(whole)["0", "val", "loss"])

    export(str(whole), str(whole / "export"), "last")
    lm, end = load(whole / "export"), torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(v, end[f"model.{k}"]) for k, v in lm.state_dict().items())
    assert getattr(lm.lm.config, SPEECH)["codebooks"] == codebooks
    assert lm.vocab.streams == (1 if codebooks == "semantic" else 3)
    export(str(whole), str(whole / "init"), "init")
    start = load(whole / "init").state_dict()
    assert all(v.shape == start[k].shape for k, v in lm.state_dict().items())


def test_what_cannot_be_learnt_from(
    two_cities: Path, tokenizer_dir: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = make_tokenizer(tokenizer_dir)
    gaps = make_store(tmp_path / "gaps", two_cities, tokenizer, range(8), without=(1, 5))
    found = read_pairs(str(gaps))
    assert (len(found.pairs), found.without_text) == (6, 2)
    silent = make_store(tmp_path / "silent", two_cities, tokenizer, range(2), without=(0, 1))
    with pytest.raises(AudiokdError, match="none of 2 utterances has a text"):
        read_pairs(str(silent))
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text(f"dickens/00 {two_cities}\ndickens/01 {two_cities}\n")
    (data / "text").write_text("dickens/00 Chapter one.\ndickens/01 Chapter two.\n")
    assert [p.text for p in read_pairs(str(silent), "plain", [str(data)]).pairs] == ["chapter one", "chapter two"]
    assert [p.text for p in read_pairs(str(silent), "raw", [str(data)]).pairs] == ["Chapter one.", "Chapter two."]

    with torch.no_grad():
        next(tokenizer.parameters()).add_(1e-3)
    another = make_store(tmp_path / "another", two_cities, tokenizer, range(2))
    with pytest.raises(AudiokdError, match="different tokenizers: model_sha256"):
        fit("speech_lm", settings_of(), str(store), str(another), str(tmp_path / "exp"))
    (gaps / "complete.json").unlink()
    with pytest.raises(AudiokdError, match="the store is not complete"):
        read_pairs(str(gaps))

    vocab = tiny(read_pairs(str(store))).vocab
    with pytest.raises(AudiokdError, match="all 20 utterances are longer than 10 tokens"):
        PairDataset(read_pairs(str(store)), vocab, PairSettings(max_length=10), 0)
    sizes = sorted(len(p.text) + p.frames + 4 for p in read_pairs(str(store)).pairs)
    assert PairDataset(read_pairs(str(store)), vocab, PairSettings(max_length=sizes[11]), 0).too_long in range(1, 9)
