"""What does nuscenes-devkit say of seeded boxes? AP, errors and NDS, for tests/eval/test_center_ap.py to compare with.

nuscenes-devkit is in no extra of audiokd, since it wants numpy under 2: in an environment of its own, from this root,

    python -m venv ../devkit
    ../devkit/bin/pip install nuscenes-devkit==1.2.0 "numpy<2"
    ../devkit/bin/python benchmarks/center_ap.py
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "tests" / "eval" / "devkit_scores.json"
sys.path.insert(0, str(ROOT / "tests" / "eval"))


def main() -> None:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.constants import TP_METRICS
    from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetricDataList
    from nuscenes.eval.detection.evaluate import DetectionEval
    from pyquaternion import Quaternion
    from seeded_boxes import CASES, NAMES, seeded_boxes

    # a box's attribute is checked against a list where it is built; scores are only ever compared
    config = config_factory("detection_cvpr_2019")

    def gather(case: str, side: str) -> EvalBoxes:
        found = EvalBoxes()
        for frame, of in seeded_boxes(case).items():
            boxes = []
            of = of[side]
            for k, box in enumerate(of["boxes"].tolist()):
                name = NAMES[of["labels"][k]]
                points = int(of["num_points"][k]) if side == "truth" else -1
                # DetectionEval filters by these two: by place, and objects without a point
                if np.linalg.norm(box[:2]) >= config.class_range[name] or points == 0:
                    continue
                boxes.append(DetectionBox(
                    sample_token=frame, translation=box[:3], size=[box[4], box[3], box[5]],
                    rotation=Quaternion(axis=[0, 0, 1], radians=box[6]).elements.tolist(), velocity=box[7:9],
                    ego_translation=box[:3], num_pts=points, detection_name=name,
                    detection_score=float(of["scores"][k]) if side == "found" else -1.0, attribute_name=of["attributes"][k],
                ))  # fmt: skip
            found.add_boxes(frame, boxes)
        return found

    cases = {}
    for case in CASES:
        evaluation = DetectionEval.__new__(DetectionEval)  # without a set on disk: the boxes are given
        evaluation.cfg, evaluation.verbose = config, False
        evaluation.gt_boxes, evaluation.pred_boxes = gather(case, "truth"), gather(case, "found")
        metrics, data = evaluation.evaluate()
        assert isinstance(data, DetectionMetricDataList)
        errors = {n: {m: metrics.get_label_tp(n, m) for m in TP_METRICS} for n in NAMES}
        cases[case] = {
            "map": metrics.mean_ap,
            "nds": metrics.nd_score,
            "errors": metrics.tp_errors,
            "classes": {n: {
                "aps": [metrics.get_label_ap(n, d) for d in config.dist_ths],
                "errors": {m: None if np.isnan(v) else v for m, v in errors[n].items()},
            } for n in NAMES},
            "sum": float(sum(np.nansum(f[s]["boxes"]) for f in seeded_boxes(case).values() for s in ("truth", "found"))),
        }  # fmt: skip
    about = {
        "command": "python benchmarks/center_ap.py, in an environment of the devkit's own",
        "versions": {name: version(name) for name in ("nuscenes-devkit", "numpy")},
    }
    OUT.write_text(json.dumps({**about, "cases": cases}, indent=1) + "\n")
    print(OUT.read_text()[:900])


if __name__ == "__main__":
    main()
