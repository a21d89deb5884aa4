"""The demo of face verification: EfficientNet-Lite0 from ImageNet weights with ArcFace, verified on five sets."""

from pathlib import Path
from typing import ClassVar

from relattn.tasks.demo import TaskDemo


class Demo(TaskDemo):
    """EfficientNet-Lite0 from ImageNet weights with ArcFace on faces, verified on five sets."""

    title = "Generated faces, accuracy of verification"
    attention = "stra_fade_in"
    columns: ClassVar[dict[str, str]] = {
        "LFW": "accuracy/lfw",
        "CPLFW": "accuracy/cplfw",
        "CALFW": "accuracy/calfw",
        "CFP-FP": "accuracy/cfp_fp",
        "AgeDB-30": "accuracy/agedb_30",
        "mean": "accuracy",
    }

    def generate(self, root: Path) -> None:
        from relattn.synthetic.faces.layouts import write_faces

        if not (root / "faces").is_dir():
            write_faces(root, identities=160, images_per_identity=14, pairs=160)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from statistics import fmean

        from relattn.tasks.face.baselines import baselines

        found = {}
        for name, accuracies in baselines(root).items():
            scores = {f"accuracy/{one}": accuracy for one, accuracy in accuracies.items()}
            scores["accuracy"] = fmean(accuracies.values())
            found[name] = {heading: scores[score] for heading, score in self.columns.items()}
        return found

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mean"]
