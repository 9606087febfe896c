"""What the tests of the speech language model share: stores that a small tokenizer made of a real recording, with words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from audiokd.data.audio import load_at
from audiokd.data.utterance import Utterance
from audiokd.methods.lm_spt.config import LMSPTConfig
from audiokd.methods.lm_spt.model import LMSPTModel
from audiokd.methods.speech_lm.model import SpeechLM, create
from audiokd.methods.speech_lm.pairs import PairSet
from audiokd.methods.speech_lm.settings import SpeechLMShape
from audiokd.stages.corpus import model_hashes
from audiokd.tokens.store import StoreItem, StoreWriter

# Dickens, A Tale of Two Cities (1859), as the recording has it
TEXT = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the
epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of Darkness, it was the spring of
hope, it was the winter of despair, we had everything before us, we had nothing before us, we were all going direct to Heaven, we
were all going direct the other way - in short, the period was so far like the present period, that some of its noisiest
authorities insisted on its being received, for good or for evil, in the superlative degree of comparison only."""
#: 12.5 Hz, random weights: dozens of codes in use, which is all that learning by heart asks for
TOKENIZER = {
    "sample_rate": 16000,
    "encoder_dim": 4,
    "encoder_rates": [4, 5, 8, 8],
    "latent_dim": 64,
    "decoder_dim": 64,
    "decoder_rates": [8, 8, 5, 4],
    "aux_dim": 32,
    "aux_rates": [8, 8, 5, 4],
    "n_codebooks": 3,
    "semantic_codebook_size": 128,
    "acoustic_codebook_size": 64,
}


def make_tokenizer(folder: Path) -> LMSPTModel:
    """A saved tokenizer with the weights of seed 0."""
    torch.manual_seed(0)
    model = LMSPTModel(LMSPTConfig(**TOKENIZER)).eval()
    model.save_pretrained(folder)
    return model.fold()


def make_store(folder: Path, recording: Path, tokenizer: LMSPTModel, ids: range, without: tuple[int, ...] = ()) -> Path:
    """A store of the stretches `ids` of 20 equal ones of the recording, each with its share of TEXT; `without`: no text."""
    wav = load_at(Utterance(recording.stem, str(recording)), tokenizer.sample_rate)
    stretches, words = np.array_split(wav, 20), np.array_split(TEXT.split(), 20)
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(s) for s in stretches], batch_first=True)
    codes = tokenizer.encode(padded, torch.tensor([len(s) for s in stretches]))
    items = [
        StoreItem(
            f"dickens/{i:02d}",
            codes[i].codes[0].numpy(),
            len(stretches[i]),
            tokenizer.sample_rate,
            text=None if i in without else " ".join(words[i]),
        )
        for i in ids
    ]
    meta = {
        "sample_rate": tokenizer.sample_rate,
        "frame_rate": tokenizer.frame_rate,
        "frame_size": tokenizer.frame_size,
        "cardinality": tokenizer.cardinality,
        "num_codebooks": tokenizer.num_codebooks,
        **model_hashes(tokenizer),
    }
    writer = StoreWriter(folder, "codes", meta)
    writer.write_shard("00000", items, (), {"device": "cpu"}, input_sha256="0" * 64)
    writer.finish(["00000"])
    return folder


def tiny(pairs: PairSet, codebooks: str = "semantic", name: str = "", aligned: bool = False) -> SpeechLM:
    """A new model of toy width over the tokens of `pairs`, in eval mode."""
    torch.manual_seed(1)
    sizes = pairs.store.meta["cardinality"]
    speech = {
        "codebooks": codebooks,
        "cardinality": sizes[:1] if codebooks == "semantic" else sizes,
        "frame_rate": pairs.store.meta["frame_rate"],
        "model_sha256": pairs.store.meta["model_sha256"],
        "text": "plain",
        "unconditional": 0.1,
    }
    shape = SpeechLMShape(name, hidden=32, layers=2, heads=2, ffn=64, positions="aligned" if aligned else "plain")
    return create(shape, speech, pairs.pairs).eval()
