"""Stage 7: a corpus to features."""

from __future__ import annotations

from typing import Any, Literal


def extract(
    model_dir: str,
    input: str,
    store: str,
    layer: str = "",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    shard_size: int = 1000,
    batch_duration: float | None = None,
    device: str = "cpu",
    nj: int = 1,
    threads: int = 0,
    max_error_rate: float = 0.01,
    allow_pipes: bool = False,
    launcher: str = "local",
    launcher_options: str = "",
    split: str = "",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Turn a corpus into a feature store, [T', D] an utterance or a video, [1, D] a picture, [H, W] a picture's anomaly map.
    Resumes and checks as `tokenize` does. Of a video it is the clip in its middle that the model is given.

    Recordings longer than the model's window go through it window by window, which the store's meta has as window_s and hop_s
    (`audiokd.nn.windows`).

    Args:
        model_dir: folder of a model that audiokd exported, or a hub id; of transformers' encoders of sound and pair models, too.
        input: data dir, shards, cuts file, folder of audio, or one audio file; of a picture or video model a folder with
            items.jsonl, or that file.
        store: folder to write.
        layer: which features, one of the model's `feature_layers`; its first by default.
        dtype: of the features in the store; bfloat16 comes back as float32.
        shard_size: utterances a shard, for an input that has no shards yet.
        batch_duration: seconds of audio a batch, padding included; 0 is one utterance at a time. Default: 0 on a CPU,
            120 elsewhere.
        batch_size: pictures or clips a batch. Default: 1 on a CPU, 64 elsewhere.
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
        AudiokdError: as `tokenize`, or the model has no such features, or none at all as a recommender, or it takes pictures,
            videos or sound and the input is another of these.
    """
    from audiokd.data.item_inputs import media_of
    from audiokd.errors import AudiokdError, ConfigError
    from audiokd.hub.auto import load_for_inference
    from audiokd.nn.features import layers_in
    from audiokd.nn.windows import window_of
    from audiokd.stages.corpus import model_hashes, run_corpus
    from audiokd.teachers.auto import ENCODERS
    from audiokd.vision.transforms import require_timm

    model = load_for_inference(model_dir)
    if not hasattr(model, "extract"):
        raise AudiokdError(f"a {type(model).__name__} has no features to extract", where=model_dir, fix=ENCODERS)
    layer = layer or model.feature_layers[0]
    if layer not in model.feature_layers:
        raise AudiokdError(f"no features {layer!r}", where=model_dir, fix=f"layers: {', '.join(model.feature_layers)}")
    kind = getattr(model, "kind", "audio")
    names = {"audio": "sound", "image": "pictures", "video": "videos"}
    if kind not in names:
        fix = "use 'audiokd ratings'" if kind == "ratings" else "give a model of sound, pictures or videos"
        raise AudiokdError(f"a model of {kind} has no features to extract", where=model_dir, fix=fix)
    if kind != (given := media_of(input)):
        takes = names[kind] if kind == "audio" else f"{names[kind]}: give a folder with items.jsonl of these"
        this = names[given] if given == "audio" else f"a folder of {names[given]}"
        raise AudiokdError(f"a {model.config.model_type} model takes {takes}, and this is {this}", where=input)
    pictures = kind == "image"
    if (batch_size if kind == "audio" else batch_duration) is not None:
        other, right = ("batch_size", "batch_duration") if kind == "audio" else ("batch_duration", "batch_size")
        raise ConfigError(f"--{other} is not for {names[kind]}", fix=f"give --{right}")
    meta = {
        "layer": layer,
        "layers": layers_in(layer, model.feature_layers, getattr(model, "cls_tokens", 0)),
        "dtype": dtype,
        "model_type": model.config.model_type,
        **model_hashes(model),
    }
    if pictures:
        require_timm()
        meta["media"] = "image"
        if getattr(model, "thresholds", None):  # of an anomaly detector
            meta["thresholds"] = model.thresholds
    elif kind == "video":
        meta["media"] = "video"
    else:
        window_s, hop_s = window_of(model)
        meta |= {k: getattr(model, k) for k in ("sample_rate", "frame_rate", "frame_size")}
        meta |= {"window_s": window_s, "hop_s": hop_s}
    if layer in getattr(model, "logit_layers", ()):
        labels, task = (model.labels, "class") if pictures else (model.config.labels, model.config.task)
        meta |= {"labels": list(labels), "task": task}
    return run_corpus(
        model_dir,
        input,
        store,
        "features",
        meta,
        layer=layer,
        dtype=dtype,
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
        media=kind,
        batch_size=batch_size,
    )
