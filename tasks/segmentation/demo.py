"""The demo of segmentation: a dilated EfficientNet-Lite0 with PPM on streets in Cityscapes' layout."""

from pathlib import Path
from typing import ClassVar

from relattn.tasks.demo import TaskDemo


class Demo(TaskDemo):
    """A dilated EfficientNet-Lite0 from ImageNet weights with PPM on streets in Cityscapes' layout."""

    title = "Generated streets in Cityscapes' layout"
    columns: ClassVar[dict[str, str]] = {"mIoU": "mIoU", "pixel accuracy": "pixel_accuracy"}

    def generate(self, root: Path) -> None:
        from relattn.synthetic.streets.layouts import write_cityscapes

        if not (root / "cityscapes").is_dir():
            write_cityscapes(root, train=240, val=60, test=4)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from relattn.tasks.segmentation.majority import majority

        return {"majority class": majority(root)}

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mIoU"]
