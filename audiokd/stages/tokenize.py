"""Stage 7: a corpus to tokens."""

from __future__ import annotations

from typing import Any


def tokenize(
    model_dir: str,
    input: str,
    store: str,
    shard_size: int = 1000,
    num_codebooks: int | None = None,
    batch_duration: float | None = None,
    device: str = "cpu",
    nj: int = 1,
    threads: int = 0,
    max_error_rate: float = 0.01,
    allow_pipes: bool = False,
    launcher: str = "local",
    launcher_options: str = "",
    split: str = "",
) -> dict[str, Any]:
    """Turn a corpus into a token store: sharded, atomic, checksummed, resumable, the same whatever the batch.

    Killed at any moment and started again, the finished store has the same bytes as an undisturbed one. An utterance
    that cannot be read goes to its shard's errors.jsonl and stops nothing.

    Args:
        model_dir: folder or hub id of a tokenizer that audiokd exported, or of an EnCodec (24 kHz), Mimi, DAC or X-Codec of
            transformers.
        input: data dir, shards, cuts file, folder of audio, or one audio file.
        store: folder to write.
        shard_size: utterances a shard, for an input that has no shards yet.
        num_codebooks: streams to keep, from the first (semantic) on; all by default.
        batch_duration: seconds of audio a batch, padding included; 0 is one utterance at a time. Default: 0 on a CPU,
            120 elsewhere.
        device: cpu, cuda, cuda:1, ...; of cuda without a number each local process takes the next GPU.
        nj: processes; jobs of a SLURM array; Ray actors.
        threads: of each; default: all cores shared among the processes, or the CPUs that a job or an actor asks for.
        max_error_rate: share of utterances that may fail before the exit code says so.
        allow_pipes: run shell commands in wav.scp.
        launcher: where the shards are run: local, slurm or ray (audiokd/launch/README.md).
        launcher_options: of slurm and ray, such as "partition=gpu gpus=1 time_min=240" or "num_cpus=2 num_gpus=0.25".
        split: JOB/NJ, such as 2/4: the part of the shards that is this command's, one of NJ that somebody else starts.

    Returns:
        The store's totals; of its own part, where others of a `split` are not done.

    Raises:
        AudiokdError: the model or the input cannot be loaded, the store was made by another model, the disk is full, or more
            utterances failed than `max_error_rate` allows (the store is whole then).
    """
    from audiokd.hub.auto import load_tokenizer
    from audiokd.stages.corpus import model_hashes, run_corpus

    model = load_tokenizer(model_dir)
    if num_codebooks is not None:
        model.set_num_codebooks(num_codebooks)
    meta = {
        "sample_rate": model.sample_rate,
        "frame_rate": model.frame_rate,
        "frame_size": model.frame_size,
        "cardinality": list(model.cardinality),
        "num_codebooks": model.num_codebooks,
        "model_type": model.config.model_type,
        **model_hashes(model),
    }
    if getattr(model, "window_s", None):
        meta["window_s"] = model.window_s  # longer recordings were cut there
    return run_corpus(
        model_dir,
        input,
        store,
        "codes",
        meta,
        num_codebooks=num_codebooks,
        shard_size=shard_size,
        batch_duration=batch_duration,
        device=device,
        nj=nj,
        threads=threads,
        max_error_rate=max_error_rate,
        allow_pipes=allow_pipes,
        launcher=launcher,
        launcher_options=launcher_options,
        split=split,
    )
