"""How large things of a class are on average."""

from __future__ import annotations

from collections.abc import Sequence

from audiokd.errors import ConfigError

#: length, width, height in metres of nuScenes' classes, as the official code has them (statistics_data.py of
#: github.com/Irvingao/Point-DETR3D at bf9a758, there as width, length, height)
NUSCENES = {
    "car": (4.63, 1.96, 1.74),
    "truck": (6.94, 2.52, 2.85),
    "construction_vehicle": (6.56, 2.82, 3.20),
    "bus": (11.19, 2.95, 3.49),
    "trailer": (12.28, 2.92, 3.87),
    "barrier": (0.50, 2.51, 0.99),
    "motorcycle": (2.11, 0.77, 1.46),
    "bicycle": (1.70, 0.61, 1.30),
    "pedestrian": (0.73, 0.67, 1.77),
    "traffic_cone": (0.42, 0.41, 1.08),
}


def nuscenes_sizes(names: Sequence[str]) -> list[list[float]]:
    """[K][3] of classes `names`.

    Raises:
        ConfigError: nuScenes has no such class.
    """
    if other := [n for n in names if n not in NUSCENES]:
        fix = "--model.class_sizes train: means of the training set's boxes"
        raise ConfigError(f"nuScenes has no class {', '.join(other)}", where="model.class_sizes", fix=fix)
    return [list(NUSCENES[n]) for n in names]
