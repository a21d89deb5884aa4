"""Checkpoints as `relattn fit` writes them, of small networks that nobody trained: their weights are drawn."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from relattn.cli.lightning import flags
from relattn.tasks.base import Task
from relattn.tasks.segmentation.labels import CITYSCAPES

OLD_TRACE = "torch 2.11 traces segmentation for some sizes only" if torch.__version__.startswith("2.11.") else ""
"""Why a test of every size is left out; `relattn export` says so too."""

CLASSES = {"classification": 10, "reid": 12, "segmentation": 19, "face": 8}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "classification": ("relattn.tasks.classification.Classification", {"backbone": "resnet8"}),
    "reid": ("relattn.tasks.reid.ReID", {"backbone": "resnet14t", "feature": "after_norm", "flip_test": True}),
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
    "face": ("relattn.tasks.face.Faces", {}),
}

SIZES = {"classification": (32, 32), "reid": (64, 32), "segmentation": (48, 64), "face": (48, 48)}


def shake(network: nn.Module) -> None:
    """Give batch norms statistics that matter, and parameters that are zero something else."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def build(task: str, attention: str = "none", **arguments: Any) -> tuple[Task, dict[str, Any]]:
    """A task with a network of drawn weights, in evaluation mode, and the configuration of its model."""
    path, given = MODELS[task]
    given = {**given, **arguments}
    if attention != "none":
        given["attention"] = json.loads(flags.attention(attention, given["backbone"]))
    model = {"class_path": path, "init_args": given}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model", fail_untyped=False)
    made: Task = parser.instantiate(parser.parse_object({"model": model})).model
    shapes = {"num_classes": CLASSES[task], "image_size": SIZES[task], "classes": CITYSCAPES.classes}
    torch.manual_seed(0)
    made.assemble(SimpleNamespace(feature="after_norm", **shapes))
    shake(made)
    return made.eval(), model


def save(
    file: Path, task: str, attention: str = "none", *, data: dict[str, Any] | None = None, **arguments: Any
) -> Path:
    """Write the checkpoint of a task; `data` are options of its data set, `arguments` of its model."""
    made, model = build(task, attention, **arguments)
    if task == "face":
        made.threshold.fill_(1.25)
    path, given = DATA[task]
    config = {"model": model, "data": {"class_path": path, "init_args": {**given, **(data or {})}}}
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": made.state_dict(), "config": yaml.safe_dump(config), "shapes": made.shapes}
    torch.save(content, file)
    return file
