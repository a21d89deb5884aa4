"""The demo of re-identification: EfficientNet-Lite0 from ImageNet weights on people in Market-1501's layout."""

from pathlib import Path
from typing import ClassVar

from relattn.tasks.demo import TaskDemo


class Demo(TaskDemo):
    """EfficientNet-Lite0 from ImageNet weights on people in Market-1501's layout."""

    title = "Generated people in Market-1501's layout"
    columns: ClassVar[dict[str, str]] = {
        "mAP": "mAP",
        "mAP*": "mAP_trapezoid",
        "R-1": "rank1",
        "R-5": "rank5",
        "R-10": "rank10",
        "mINP": "mINP",
    }
    note = " * by Market-1501's official definition (trapezoid)."

    def generate(self, root: Path) -> None:
        from relattn.synthetic.people.layouts import write_market1501

        if not (root / "Market-1501-v15.09.15").is_dir():
            write_market1501(root)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from relattn.metrics.retrieval import retrieval
        from relattn.tasks.reid.market1501 import read_market1501
        from relattn.tasks.reid.raw_pixels import raw_pixels

        query, gallery, distances = raw_pixels(read_market1501(root))
        scores = retrieval(distances, query, gallery).scores()
        return {"raw-pixel ranking": {heading: scores[name] for heading, name in self.columns.items()}}

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mAP"]
