"""Centres of log-mel and chroma frames as a tokenizer: MERT's teacher without a network."""

from __future__ import annotations


def kmeans(
    input: str,
    model_dir: str,
    clusters: tuple[int, int] = (300, 200),
    frames: int = 200_000,
    n_mels: int = 80,
    sample_rate: int = 24_000,
    seed: int = 0,
    max_error_rate: float = 0.01,
    allow_pipes: bool = False,
) -> dict[str, float]:
    """Cluster frames of a corpus; write the centres as a model folder that `tokenize` and `fit mert` take.

    Utterances are read in an order that the seed draws until there are frames enough, a hundred of each at most.

    Args:
        input: data dir, shards, cuts file, folder of audio, or one audio file.
        model_dir: folder to write.
        clusters: of log-mel and of chroma; 0 leaves one out.
        frames: to cluster.
        n_mels: bands of the log-mel.
        sample_rate: Hz; a frame is 320 samples of it.
        seed: of the draw and of the first centres.
        max_error_rate: share of the utterances that may be unreadable.
        allow_pipes: run shell commands in wav.scp.

    Returns:
        `frames` that were clustered, and of each feature the mean squared distance over the variance, `log_mel`, `chroma`.

    Raises:
        AudiokdError: fewer frames than clusters, or too many unreadable utterances.
    """
    import sys

    import numpy as np
    import torch
    from sklearn.cluster import MiniBatchKMeans
    from transformers import EncodecFeatureExtractor
    from transformers.utils import logging

    from audiokd.data.audio import load_at
    from audiokd.data.crops import rng_of
    from audiokd.data.inputs import open_input
    from audiokd.errors import AudioError, AudiokdError
    from audiokd.files import atomic_folder
    from audiokd.hub.auto import part
    from audiokd.progress import progress

    model = part("kmeans", "model")(part("kmeans", "config")(clusters=clusters, sample_rate=sample_rate, n_mels=n_mels))
    utterances = open_input(input, allow_pipes=allow_pipes).utterances()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in model.used}
    count = bad = 0
    with progress("read", frames, "frames") as bar:
        for i in rng_of(seed, "kmeans").permutation(len(utterances)):
            utt = utterances[i]
            try:
                wav = torch.from_numpy(load_at(utt, sample_rate))
            except AudioError as e:
                bad += 1
                print(f"left out: {e}", file=sys.stderr)
                continue
            found = {k: v[0] for k, v in model.features(wav[None]).items()}
            n = len(next(iter(found.values())))
            chosen = np.sort(rng_of(seed, utt.id).permutation(n)[:100])
            for name, of in found.items():
                rows[name].append(of[chosen].numpy())
            count += len(chosen)
            bar.update(min(count, frames))
            if count >= frames:
                break
    if bad > max_error_rate * len(utterances):
        what = f"{bad} of {len(utterances)} utterances cannot be read, more than --max_error_rate {max_error_rate:g}"
        raise AudiokdError(what, where=input, fix="see the messages above")
    if count < max(model.cardinality):
        fix = "give more audio, or fewer --clusters"
        raise AudiokdError(f"{count} frames for {max(model.cardinality)} clusters", where=input, fix=fix)
    said: dict[str, float] = {"frames": min(count, frames)}
    for name, k in zip(model.used, model.cardinality):
        x = np.concatenate(rows[name])[:frames].astype(np.float32)
        fitted = MiniBatchKMeans(k, batch_size=10_000, n_init=3, random_state=seed, max_iter=50).fit(x)
        model.get_parameter(name).data.copy_(torch.from_numpy(fitted.cluster_centers_))
        said[name] = float(fitted.inertia_ / len(x) / x.var(0).sum())
    logging.disable_progress_bar()
    with atomic_folder(model_dir) as folder:
        model.save_pretrained(folder)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=model.sample_rate).save_pretrained(folder)
    left = ", ".join(
        f"{k} of {name} leave {said[name]:.1%} of its variance" for k, name in zip(model.cardinality, model.used)
    )
    print(f"{model_dir}: {said['frames']:.0f} frames; {left}")
    return said
