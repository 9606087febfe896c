"""Is this machine ready, and what for."""

from __future__ import annotations


def doctor() -> bool:
    """Print versions, devices, audio formats, what decodes videos, and extras.

    The exit code is not 0 where something needed is missing.
    """
    import importlib
    import os
    import platform
    import shutil
    from importlib.metadata import PackageNotFoundError, version

    from audiokd.errors import AudiokdError
    from audiokd.launch.local import default_threads, usable_cores

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
        cores = usable_cores()
        used = f" ({default_threads(1)} used, by OMP_NUM_THREADS)" if default_threads(1) < cores else ""
        print(f"devices        {cores} CPU cores{used}; GPUs: {', '.join(gpus) or 'none'}")
        formats = sf.available_formats()
        print(f"audio          libsndfile {sf.__libsndfile_version__}: {', '.join(sorted(formats))}")
        problems += [f"libsndfile reads no {f}" for f in ("WAV", "FLAC", "OGG", "MP3") if f not in formats]
        print(f"video          {_video()}")
    for extra, names in _extras().items():
        missing = []
        for name in names:
            try:
                version(name)
            except PackageNotFoundError:
                missing.append(name)
        print(f"extra {extra:9} {'missing: ' + ', '.join(missing) if missing else 'there'}")
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    print(f"disk           {free:.0f} GiB free here")
    if problems:
        raise AudiokdError("; ".join(problems), fix="make venv, or pip install -c constraints.txt audiokd")
    return True


def _extras() -> dict[str, list[str]]:
    """Packages of each extra but those of development, by audiokd's own metadata."""
    import re
    from importlib.metadata import PackageNotFoundError, requires

    found: dict[str, list[str]] = {}
    try:
        rows = requires("audiokd") or []
    except PackageNotFoundError:
        return found
    for row in rows:
        if (of := re.fullmatch(r"([\w.-]+)[^;]*; extra == \"(\w+)\"", row)) and of[2] not in ("dev", "docs"):
            found.setdefault(of[2], []).append(of[1])
    return found


def _video() -> str:
    from importlib.metadata import PackageNotFoundError, version

    from audiokd.data.video import torchcodec_decoder

    try:
        found = f"PyAV {version('av')}"
    except PackageNotFoundError:
        return "none: PyAV is not installed"
    try:
        codec = version("torchcodec")
    except PackageNotFoundError:
        return found
    return f"{found}; torchcodec {codec}{'' if torchcodec_decoder() else ' finds no FFmpeg that it knows'}"
