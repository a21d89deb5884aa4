"""Checkpoints as written by `relattn fit`, but of small untrained networks with random weights."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from relattn.cli.lightning.recipes import attention_config
from relattn.runs.stored_config import build_from_config
from relattn.tasks.base import Task
from relattn.tasks.data import Data

OLD_TRACE = "torch 2.11 traces segmentation for some sizes only" if torch.__version__.startswith("2.11.") else ""
"""Why a test with every size is skipped; `relattn export` reports it too."""

CLASSES = {"classification": 10, "reid": 12, "segmentation": 19, "face": 8}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "classification": ("relattn.tasks.classification.Classification", {"backbone": "resnet8"}),
    "reid": ("relattn.tasks.reid.ReID", {"backbone": "resnet14t", "feature": "after_norm", "flip": "sum"}),
    "segmentation": (
        "relattn.tasks.segmentation.Segmentation",
        {"backbone": "resnet14t", "head": "ppm", "pool": [6, 8], "width": 32, "output_stride": 16},
    ),
    "face": ("relattn.tasks.face.Face", {"backbone": "resnet8", "dimensions": 16}),
}

DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "classification": ("relattn.tasks.classification.CIFAR10", {}),
    "reid": ("relattn.tasks.reid.Market1501", {"image_size": [64, 32]}),
    "segmentation": ("relattn.tasks.segmentation.Cityscapes", {"crop": [48, 64]}),
    "face": ("relattn.tasks.face.Faces", {"image_size": [48, 48]}),
}


def shake(network: nn.Module) -> None:
    """Give batch norms non-trivial statistics, and replace parameters that are zero."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def build(
    task: str, attention: str = "none", *, data: dict[str, Any] | None = None, **arguments: Any
) -> tuple[Task, dict[str, Any]]:
    """Build a task with a network of random weights, in evaluation mode, and the configuration of its model and data.

    `data` holds options of its data set, `arguments` those of its model.
    """
    path, options = MODELS[task]
    options = {**options, **arguments}
    if attention != "none":
        options["attention"] = attention_config(attention, options["backbone"])
    data_path, data_options = DATA[task]
    config = {
        "model": {"class_path": path, "init_args": options},
        "data": {"class_path": data_path, "init_args": {**data_options, **(data or {})}},
    }
    made = build_from_config(Task, config["model"], "the test")
    data_set = build_from_config(Data, config["data"], "the test")
    data_set.num_classes = CLASSES[task]
    torch.manual_seed(0)
    made.assemble(data_set.specification())
    shake(made)
    return made.eval(), config


def save(
    file: Path, task: str, attention: str = "none", *, data: dict[str, Any] | None = None, **arguments: Any
) -> Path:
    """Write the checkpoint of a task; options as in `build`."""
    made, config = build(task, attention, data=data, **arguments)
    if task == "face":
        made.threshold.fill_(1.25)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"config": yaml.safe_dump(config), "specification": made.specification, "state_dict": made.state_dict()}
    torch.save(content, file)
    return file
