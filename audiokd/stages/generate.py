"""Stage 7: pictures or sounds that a diffusion model makes of prompts, as a data dir of items."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from audiokd.errors import AudiokdError, ConfigError

GENERATION = "generation.json"  # what made them, beside items.jsonl


def generate(
    model: str,
    input: str,
    out: str,
    steps: int = 0,
    num_per_prompt: int = 1,
    seed: int = 0,
    guidance: float | None = None,
    sampler: Literal["", "ddim", "tiue", "lcm"] = "",
    timestep_spacing: Literal["", "leading", "trailing"] = "",
    batch_size: int = 16,
    limit: int = 0,
    save_mel: bool = False,
    device: str = "cpu",
) -> int:
    """Write OUT/items.jsonl and a PNG picture or a wav file of every prompt; files that stand are left.

    Of sounds OUT is a data dir, too: wav.scp, utt2label, text. INPUT's classes.txt is taken along.

    The noise of an item depends on its id and the seed alone, so that it comes out the same (but for rounding) in any batch.
    Killed and started again goes on from there, batch by batch.

    Args:
        model: folder that `audiokd export` wrote of a tiue run, or a folder or hub id of Stable Diffusion's layout.
        input: prompts: a text file (a line each), or a folder with items.jsonl whose labels or captions are meant; as
            `audiokd.data.prompts.read_prompts` has it.
        out: folder to write; items have the label or caption of INPUT, and its ids, or the line's number.
        steps: of the sampler; 0 is the model's own.
        num_per_prompt: items of each prompt; from 2 on their ids end in -0, -1, ...
        seed: of the noise.
        guidance: classifier-free guidance w, 1 is none; the model's own unless given.
        sampler: ddim, the whole network at each step; tiue, the encoder once and the decoder for all steps in one call; lcm, a
            consistency model. The model's own unless given.
        timestep_spacing: where the steps of ddim and tiue lie; the model's own unless given.
        batch_size: prompts at once.
        limit: prompts at most; 0 is all.
        save_mel: of sounds, keep the log-mel spectrograms too: OUT/mel/<id>.npy, float32 [frames, n_mels].
        device: cpu, cuda, ...

    Returns:
        Number of items in OUT.

    Raises:
        AudiokdError: as `load_pipeline`, `read_prompts` and `closed_form`; a label that the model does not know.
        ConfigError: OUT holds what another model or other options made.
    """
    import numpy as np
    import torch

    from audiokd.data.crops import rng_of
    from audiokd.data.items import Item, write_items
    from audiokd.data.prompts import read_prompts
    from audiokd.files import sha256_bytes, write_json
    from audiokd.objects import here_only
    from audiokd.progress import progress
    from audiokd.vision.load_pipeline import load_pipeline, pipeline_sha256

    here_only(out, "pictures and sounds")
    if min(num_per_prompt, batch_size) < 1:
        raise ConfigError("num_per_prompt and batch_size are 1 or more")
    prompts = read_prompts(input)[: limit or None]
    pipeline: Any = load_pipeline(model, device)
    by_label = bool(pipeline.labels)
    if save_mel and pipeline.media == "image":
        raise ConfigError("the model makes pictures: there is no mel to save", where=model, fix="leave --save_mel out")
    wanted = []
    for p in prompts:
        for k in range(num_per_prompt):
            wanted.append((p.id if num_per_prompt == 1 else f"{p.id}-{k}", p))
        if by_label:
            pipeline.number(p.text(by_label))  # of each before the first is made
    c = pipeline.config
    rows = "\n".join(f"{i}\t{p.text(by_label)}" for i, p in wanted)
    about = {
        "model_sha256": pipeline_sha256(pipeline),
        "sampler": sampler or c.sampler,
        "steps": steps or c.steps,
        "guidance": c.guidance if guidance is None else guidance,
        "timestep_spacing": timestep_spacing or pipeline.scheduler.config.timestep_spacing,
        "seed": seed,
        "num_per_prompt": num_per_prompt,
        "prompts_sha256": sha256_bytes(rows.encode()),
        "items": len(wanted),
    }
    folder = Path(out)
    suffix, kind = (".wav", "wav") if pipeline.media == "audio" else (".png", "pictures")
    paths = {i: _place(folder / kind, i, suffix, out) for i, _ in wanted}
    mels = {i: _place(folder / "mel", i, ".npy", out) for i, _ in wanted} if save_mel else {}
    _claim(folder, about)
    write_json(folder / GENERATION, about)
    shape = pipeline.sample_shape
    with progress("generate", len(wanted), "items") as bar:
        for first in range(0, len(wanted), batch_size):
            batch = wanted[first : first + batch_size]
            if all(paths[i].exists() and (i not in mels or mels[i].exists()) for i, _ in batch):
                bar.advance(len(batch))
                continue

            def noise(k: int, batch: list[Any] = batch) -> torch.Tensor:
                drawn = [rng_of(seed, "noise", i, k).standard_normal(shape, np.float32) for i, _ in batch]
                return torch.from_numpy(np.stack(drawn))

            how = (steps or None, guidance, sampler or None, timestep_spacing or None, noise)
            with torch.no_grad():
                latents = pipeline.sample([p.text(by_label) for _, p in batch], noise(0), *how)
                found = pipeline.decode(latents)
            _write(pipeline, found, [(paths[i], mels.get(i)) for i, _ in batch])
            bar.advance(len(batch))
    items = [Item(i, str(paths[i]), label=p.label, caption=p.caption) for i, p in wanted]
    if by_label:
        items = [i if i.label is not None else i.with_(label=i.caption, caption=None) for i in items]
    if pipeline.media == "audio":
        _write_data_dir(folder, items)
    _copy_classes(input, folder)
    write_items(folder, items)
    return len(items)


def _claim(folder: Path, about: dict[str, Any]) -> None:
    """That what stands in the folder is of the same generation."""
    import json

    path = folder / GENERATION
    if not path.exists():
        return
    old = json.loads(path.read_text())
    differ = [
        f"  {k}: {old.get(k)} there, {about.get(k)} now"
        for k in sorted(old.keys() | about)
        if old.get(k) != about.get(k)
    ]
    if differ:
        fix = "give another folder, or the same model and options"
        raise ConfigError("made another way:\n" + "\n".join(differ), where=str(path), fix=fix)


def _write_data_dir(folder: Path, items: list[Any]) -> None:
    """wav.scp, utt2label and text beside items.jsonl: stages take sound as a data dir."""
    from audiokd.data.kaldi import write_data_dir
    from audiokd.data.labels import LABELS, write_labels
    from audiokd.data.utterance import Utterance

    write_data_dir(folder, [Utterance(i.id, os.path.abspath(i.path), text=i.caption) for i in items])
    labels = {i.id: (i.label,) for i in items if i.label is not None}
    if len(labels) == len(items) and all(label.split() == [label] for (label,) in labels.values()):
        write_labels(folder / LABELS, labels)


def _copy_classes(source: str, folder: Path) -> None:
    from audiokd.data.classes import CLASSES
    from audiokd.files import write_bytes

    known = (Path(source) if Path(source).is_dir() else Path(source).parent) / CLASSES
    if known.is_file():
        write_bytes(folder / CLASSES, known.read_bytes())


def _place(folder: Path, name: str, suffix: str, where: str) -> Path:
    from audiokd.files import leads_out

    path = folder / f"{name}{suffix}"
    if leads_out(name):
        raise AudiokdError(f"id {name!r} would leave the folder", where=where, fix="rename it in the INPUT")
    if len(os.fsencode(path.name)) > 255:
        raise AudiokdError(f"id {name!r} is too long for the name of a file", where=where, fix="shorten it")
    return path


def _write(pipeline: Any, found: Any, places: list[tuple[Path, Path | None]]) -> None:
    """Pictures; or sounds, and their spectrograms where these have a place."""
    import io

    import numpy as np
    from PIL import Image

    from audiokd.data.audio import write_wav
    from audiokd.files import write_bytes
    from audiokd.vision.tiue_pipeline import pixels

    if pipeline.media == "image":
        for (path, _), picture in zip(places, pixels(found)):
            buffer = io.BytesIO()
            Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, format="PNG")
            write_bytes(path, buffer.getvalue())
        return
    is_there = all(path.exists() for path, _ in places)  # without its spectrogram
    wavs = [None] * len(places) if is_there else pipeline.sounds(found)
    for (path, of_mel), mel, wav in zip(places, found[:, 0].float().cpu().numpy(), wavs):
        if of_mel is not None:
            buffer = io.BytesIO()
            np.save(buffer, mel.astype(np.float32))
            write_bytes(of_mel, buffer.getvalue())
        if wav is not None:
            write_wav(path, wav, pipeline.sample_rate)  # last: what stands is whole
