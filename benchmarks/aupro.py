"""What does anomalib say of seeded anomaly maps? AUPRO and pixel AUROC, for tests/eval/test_anomalib_aupro.py to compare with.

anomalib is in no extra of audiokd, since it wants jsonargparse under 4.47: in an environment of its own, from this root,

    python -m venv ../anomalib
    ../anomalib/bin/pip install anomalib==2.7.0 torch==2.11.0 torchvision==0.26.0
    ../anomalib/bin/python benchmarks/aupro.py
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "eval" / "anomalib_aupro.json"
sys.path.insert(0, str(ROOT / "tests" / "eval"))


def main() -> None:
    from anomalib.metrics.aupro import _AUPRO
    from anomalib.metrics.auroc import _AUROC
    from seeded_maps import CASES, LIMITS, seeded_maps

    found = {}
    for name in CASES:
        maps, masks = (torch.from_numpy(x) for x in seeded_maps(name))
        aupro = {}
        for limit in LIMITS:
            metric = _AUPRO(fpr_limit=limit)
            metric.update(maps, masks.int())
            aupro[str(limit)] = float(metric.compute())
        auroc = _AUROC()
        auroc.update(maps.flatten(), masks.flatten().int())
        found[name] = {"aupro": aupro, "pixel_auroc": float(auroc.compute()), "sum": float(maps.double().sum())}
    about = {
        "command": "python benchmarks/aupro.py, in anomalib's environment",
        "versions": {
            name: version(name) for name in ("anomalib", "torch", "torchmetrics", "numpy", "opencv-python-headless")
        },
    }
    OUT.write_text(json.dumps({**about, "cases": found}, indent=1) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
