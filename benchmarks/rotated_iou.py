"""Overlaps of turned boxes as shapely has them, for tests/vision/test_rotated_iou.py. shapely is in no extra:

python -m venv oracle && oracle/bin/pip install shapely==2.2.0 numpy
oracle/bin/python benchmarks/rotated_iou.py > tests/vision/shapely_iou.json
"""

from __future__ import annotations

import json

import numpy as np
from shapely import affinity, box


def polygon(b: list[float]) -> object:
    """The foot of a box x, y, z, length, width, height, yaw."""
    flat = box(-b[3] / 2, -b[4] / 2, b[3] / 2, b[4] / 2)
    return affinity.translate(affinity.rotate(flat, b[6], origin=(0, 0), use_radians=True), b[0], b[1])


def pairs() -> list[list[list[float]]]:
    """Random ones, near and far; one in the other, the same, side by side, corner in side, a cross, turned by quarters."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(120):
        a, b = ([*rng.normal(0, 2, 3), *rng.uniform(0.4, 6, 3), rng.uniform(-4, 4)] for _ in range(2))
        if k % 3 == 0:
            b = (np.array(a) + rng.normal(0, 0.2, 7)).tolist()
            b[3:6] = np.abs(b[3:6]) + 0.1
        found.append([[round(float(v), 3) for v in x] for x in (a, b)])
    one = [1.0, 2.0, 0.0, 4.0, 2.0, 1.5, 0.3]
    found.append([one, one])
    found.append([one, [1.0, 2.0, 0.2, 1.0, 0.5, 0.5, -1.0]])
    found.append([[0, 0, 0, 2, 2, 2, 0], [2, 0, 0, 2, 2, 2, 0]])  # a side in common
    found.append([[0, 0, 0, 2, 2, 2, 0], [2, 2, 0, 2, 2, 2, 0]])  # a corner in common
    found.append([[0, 0, 0, 6, 1, 2, 0], [0, 0, 1, 6, 1, 2, 1.5707963]])  # a cross
    found.append([[0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 2, 2, 0.7853982]])  # eight corners
    found.append([[0, 0, 0, 4, 2, 2, 0], [0, 0, 0, 4, 2, 2, 3.1415927]])  # the same, seen from behind
    found.append([[0, 0, 0, 4, 2, 2, 0], [1, 0, 5, 4, 2, 2, 0]])  # one above the other
    return found


def main() -> None:
    rows = []
    for a, b in pairs():
        p, q = polygon(a), polygon(b)
        shared = p.intersection(q).area
        bev = shared / (p.area + q.area - shared)
        height = max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
        volume = shared * height
        both = np.prod(a[3:6]) + np.prod(b[3:6]) - volume
        rows.append({"a": a, "b": b, "bev": round(bev, 9), "space": round(float(volume / both), 9)})
    print("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]")


if __name__ == "__main__":
    main()
