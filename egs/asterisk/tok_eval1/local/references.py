"""What ABX across speakers is for features that no codec has touched: `references.py DATA_DIR WHISPER`.

Log-mel (80 bands, 100 Hz) and the frozen Whisper encoder (50 Hz), over the whole clip, as `audiokd semantics --context any`
takes a tokenizer's features. Prints a line each.
"""

import sys

import torch

from audiokd.data.audio import load_at
from audiokd.data.ctm import read_ctm
from audiokd.data.kaldi import read_data_dir
from audiokd.eval.abx import abx
from audiokd.eval.table import Summary
from audiokd.frontends.log_mel import HOP_LENGTH, SAMPLE_RATE, WhisperLogMel
from audiokd.teachers.auto import load_teacher


@torch.inference_mode()
def main(data: str, whisper: str) -> None:
    log_mel, teacher = WhisperLogMel(), load_teacher(whisper)
    utterances, phones = read_data_dir(data), read_ctm(data)
    waves = {u.id: torch.from_numpy(load_at(u, SAMPLE_RATE))[None] for u in utterances}
    features = {
        "log-mel": (SAMPLE_RATE / HOP_LENGTH, {i: log_mel(wav)[0].T.numpy() for i, wav in waves.items()}),
        "Whisper's encoder": (teacher.frame_rate, {i: teacher(wav)[0][0].numpy() for i, wav in waves.items()}),
    }
    speakers = {u.id: u.speaker or u.id for u in utterances}
    for name, (rate, heard) in features.items():
        across = abx(phones, heard, rate, speakers, "across", context="any")
        print(f"{name}: ABX across {Summary(**across['error']).text()}, {across['triples']} triples")


if __name__ == "__main__":
    main(*sys.argv[1:])
