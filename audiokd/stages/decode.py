"""Stage 8: tokens back to sound."""

from __future__ import annotations

import os
from pathlib import Path


def decode(
    model_dir: str, store: str, wav_dir: str, semantic_only: bool = False, device: str = "cpu", limit: int = 0
) -> int:
    """Write `WAV_DIR/<utterance id>.wav` for every utterance of a token store; files that stand are left.

    Args:
        model_dir: the tokenizer that made the store.
        store: token store.
        wav_dir: folder to write, 16-bit wav.
        semantic_only: decode the semantic stream alone (at the auxiliary decoder's sample rate).
        device: cpu, cuda, ...
        limit: stop after this many utterances; 0 is all.

    Returns:
        Number of files written.

    Raises:
        AudiokdError: the store was made by another model (both hashes are named), or an id cannot be a file's name.
    """
    import torch

    from audiokd.data.audio import write_wav
    from audiokd.errors import AudiokdError
    from audiokd.files import leads_out
    from audiokd.hub.auto import load_tokenizer
    from audiokd.launch.local import keep_freed_memory
    from audiokd.objects import here_only
    from audiokd.progress import progress
    from audiokd.stages.corpus import check_same_model
    from audiokd.tokens.codes import Codes
    from audiokd.tokens.store import open_store

    here_only(wav_dir, "sound")
    tokens = open_store(store)
    if tokens.kind != "codes":
        raise AudiokdError(f"a store of {tokens.kind} cannot be decoded", where=store)
    model = load_tokenizer(model_dir, device)
    check_same_model(model, model_dir, tokens)
    keep_freed_memory()
    # where there is no semantic stream, `decode` says so
    rate = getattr(model.config, "aux_sample_rate", model.sample_rate) if semantic_only else model.sample_rate
    written, total = 0, min(limit, len(tokens)) if limit else len(tokens)
    with progress("decode", total, "utterances") as bar:
        for i, item in enumerate(tokens.items()):
            if limit and i >= limit:
                break
            path = Path(wav_dir) / f"{item.id}.wav"
            if leads_out(item.id):
                raise AudiokdError(f"id {item.id!r} would leave the folder", where=store)
            if len(os.fsencode(path.name)) > 255:
                fix = "shorten it, or export the codes: no file system has longer names"
                raise AudiokdError(f"id {item.id!r} is too long for the name of a file", where=store, fix=fix)
            if not path.exists():
                codes = Codes(
                    torch.from_numpy(item.array.copy())[None],
                    torch.tensor([item.array.shape[1]]),
                    torch.tensor([item.num_samples]),
                    item.sample_rate,
                )
                wav, _ = model.decode(codes, semantic_only=semantic_only)
                write_wav(path, wav[0].cpu().numpy(), rate)
                written += 1
            bar.advance()
    return written
