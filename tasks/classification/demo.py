"""The demo of classification: ResNet-20 on objects in CIFAR-10's layout."""

from pathlib import Path
from typing import ClassVar

from relattn.tasks.demo import TaskDemo


class Demo(TaskDemo):
    """ResNet-20 on objects in CIFAR-10's layout."""

    title = "Generated objects in CIFAR-10's layout"
    columns: ClassVar[dict[str, str]] = {"error, %": "error"}

    def generate(self, root: Path) -> None:
        from relattn.synthetic.objects.layouts import write_cifar

        if not (root / "cifar-10-batches-py").is_dir():
            write_cifar(root, "cifar10", train=8_000, test=2_000)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        import torch

        from relattn.tasks.classification.cifar import CIFAR10

        data = CIFAR10(root)
        data.setup("fit")
        train, test = data.sets["train"], data.sets["test"]
        distances = torch.cdist(test.images.flatten(1).float(), train.images.flatten(1).float())
        error = 100 * float((train.labels[distances.argmin(dim=1)] != test.labels).float().mean())
        return {"raw-pixel nearest neighbour": {"error, %": error}}

    def headline(self, baseline: dict[str, float]) -> float:
        return 100 - baseline["error, %"]
