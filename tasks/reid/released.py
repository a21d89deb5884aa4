"""Convert a released re-identification checkpoint to one of the suite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from relattn.errors import InputError
from relattn.publish import publish_text, publishing
from relattn.released import load_released, read_released
from relattn.tasks.files import digest
from relattn.tasks.reid.data import ReIDData
from relattn.tasks.reid.module import ReID

RECIPES: Mapping[str, str] = {"RGA": "reid", "StRA": "reid_stra_released"}
"""For each release, the recipe of the task that has its head and says how its features are compared."""


def convert(
    released: Path, out: Path, *, task: ReID, data: ReIDData, config: dict[str, Any], identities: int | None
) -> list[str]:
    """Write the checkpoint, and `config.yaml` beside it.

    Args:
        released: The authors' file.
        out: The checkpoint to write.
        task: A task with the release's attention, whose network is not built yet.
        data: The data set that the network is for, which need not exist on disk.
        config: The configuration of task and data, to be stored in the checkpoint.
        identities: Number of outputs of the classifier; None for as many as in the file.

    Returns:
        Lines of text that say how the weights were used.

    Raises:
        InputError: If the file belongs to another release, or its weights do not fit.
    """
    found = read_released(released)
    if identities is None and "head.classifier.weight" not in found.state:
        name = found.sources["head.classifier.weight"][0]
        raise InputError(f"{released} has no classifier ({name}): give the number of identities with --identities.")
    data.num_classes = identities or len(found.state["head.classifier.weight"])
    specification = data.specification()
    task.assemble(specification)
    loaded = load_released(released, task, classes="check" if identities is None else "ignore")
    text = yaml.safe_dump(config, sort_keys=False)
    checkpoint = {
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "state_dict": task.state_dict(),
        "config": text,
        "specification": specification,
        "released": {"file": released.name, "sha256": digest(released), "release": loaded.release},
    }
    with publishing(out) as stream:
        torch.save(checkpoint, stream)
    publish_text(out.parent / "config.yaml", text)
    size = "x".join(map(str, specification["image_size"]))
    made = f"{out}: {loaded.attention}, {data.num_classes:,} identities, {type(data).__name__}, {size}"
    return [loaded.report(), made]
