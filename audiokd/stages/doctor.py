"""Is this machine ready, and what for."""

from __future__ import annotations


def doctor() -> bool:
    """Print versions, devices, audio formats and extras; the exit code is not 0 where something needed is missing."""
    import importlib
    import os
    import platform
    import shutil
    from importlib.metadata import PackageNotFoundError, version

    from audiokd.errors import AudiokdError
    from audiokd.launch.local import default_threads

    problems = []
    print(f"python         {platform.python_version()} on {platform.platform()}")
    needed = (
        "audiokd",
        "torch",
        "torchaudio",
        "transformers",
        "lightning",
        "lhotse",
        "librosa",
        "soundfile",
        "nnAudio",
    )
    for name in (*needed, "encodec", "jsonargparse", "safetensors", "torchmetrics"):
        try:
            print(f"{name:14} {version(name)}")
        except PackageNotFoundError:
            problems.append(f"{name} is not installed")
    for module in ("torch", "torchaudio", "transformers", "lightning"):
        try:
            importlib.import_module(module)
        except Exception as e:  # a broken binary raises anything
            problems.append(f"import {module} fails: {e}")
    if not problems:
        import soundfile as sf
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        print(f"devices        {default_threads(1)} CPU cores; GPUs: {', '.join(gpus) or 'none'}")
        formats = sf.available_formats()
        print(f"audio          libsndfile {sf.__libsndfile_version__}: {', '.join(sorted(formats))}")
        problems += [f"libsndfile reads no {f}" for f in ("WAV", "FLAC", "OGG", "MP3") if f not in formats]
    extras = {
        "score": ("pesq", "pystoi", "jiwer", "distillmos", "pyarrow"),
        "exports": ("kaldi_native_io", "webdataset", "datasets"),
        "s3": ("s3fs",),
        "sed": ("sed-scores-eval-np2",),
        "ray": ("ray",),
        "slurm": ("submitit",),
    }
    for extra, names in extras.items():
        missing = []
        for name in names:
            try:
                version(name)
            except PackageNotFoundError:
                missing.append(name)
        print(f"extra {extra:8} {'missing: ' + ', '.join(missing) if missing else 'there'}")
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    print(f"disk           {free:.0f} GiB free here")
    if problems:
        raise AudiokdError("; ".join(problems), fix="make venv, or pip install -c constraints.txt audiokd")
    return True
