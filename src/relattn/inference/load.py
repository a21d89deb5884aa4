"""Loads a checkpoint of any task as a network that is ready for use: `load`, which is `relattn.load`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relattn import __version__
from relattn.inference.loading import load_task
from relattn.inference.trained import ImageSource, Trained, pixels_of
from relattn.preprocessing import Preprocessing
from relattn.runs.checkpoint_files import LAST
from relattn.runs.checkpoints import find_checkpoint, read_checkpoint
from relattn.runs.resume import progress_of
from relattn.runs.run_folder import read_json
from relattn.runs.stored_config import section_of
from relattn.tasks.files import digest


def load(checkpoint: Path | str) -> Trained:
    """Load a checkpoint's network for inference.

    Args:
        checkpoint: A file from `relattn fit` or `relattn convert`, or a run's folder for the network that the run
            tested; nothing in it is executed.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not a checkpoint of this suite, or names classes that are unknown here.
    """
    path = find_checkpoint(checkpoint) if Path(checkpoint).is_dir() else Path(checkpoint)
    task = load_task(path)
    predictor = task.predictor()
    preprocessing = Preprocessing.from_json(task.specification["preprocessing"])
    content = read_checkpoint(path)
    attention = section_of(content, "model", str(path))["init_args"].get("attention")

    def transform(image: ImageSource) -> Tensor:
        return torch.from_numpy(preprocessing(pixels_of(image))).permute(2, 0, 1).contiguous()

    size = list(task.specification["image_size"])
    metadata: dict[str, Any] = {
        "relattn": __version__,
        "task": task.name,
        "backbone": task.backbone,
        "attention": attention,
        "checkpoint": {"file": path.name, "sha256": digest(path)},
        "input": {"name": "image", "layout": "NCHW", "dtype": "float32", "size": size},
        "preprocessing": preprocessing.as_json(),
        "output": predictor.output,
        **predictor.metadata,
        "scores": scores_beside(path, progress_of(content).steps),
    }
    return Trained(predictor.network.eval(), transform, metadata, predictor.answer)


def scores_beside(checkpoint: Path, steps: int) -> dict[str, float]:
    """The scores of the run, from the `result.json` in its folder, if this checkpoint is the one that was tested.

    Args:
        checkpoint: The checkpoint.
        steps: Number of its training steps; a result after another number is of the run before it was extended.
    """
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if result := read_json(folder / "result.json"):
            tested = result.get("tested")
            tested = tested if isinstance(tested, dict) else {"checkpoint": LAST, "steps": result.get("steps", steps)}
            same = Path(str(tested.get("checkpoint"))).name == checkpoint.name and tested.get("steps", steps) == steps
            scores = result.get("scores")
            return scores if same and isinstance(scores, dict) else {}
    return {}
