"""With `fast_dev_run`, which is a trial of a few batches, nothing is written."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from relattn.errors import InputError
from relattn.tasks.face import Face
from relattn.tasks.predictions import ClassPredictions
from relattn.tasks.reid import ReID
from relattn.tasks.run_outputs import save_picture


def trainer(**attributes: Any) -> Any:
    return SimpleNamespace(default_root_dir="run", loggers=[], is_global_zero=True, world_size=1, **attributes)


def test_pictures_predictions_and_embeddings_are_not_written() -> None:
    rehearsing = trainer(fast_dev_run=1)
    save_picture(rehearsing, Figure(), "val", "0")
    ClassPredictions(["a", "b"]).write(rehearsing)
    for task in (ReID("resnet8"), Face("resnet8")):
        task.trainer = rehearsing
        task.on_predict_end()
    assert not Path("run").exists()


@pytest.mark.parametrize("limit", [1, 0.5])
def test_a_part_of_the_images_of_pairs_is_refused_before_any_is_read(limit: float) -> None:
    task = Face("resnet8")
    task.build_metric = lambda data: torch.nn.Identity()  # type: ignore[assignment,method-assign]
    data = SimpleNamespace(predict_dataloader=lambda: [0, 1, 2])
    task.trainer = trainer(fast_dev_run=0, limit_predict_batches=limit, datamodule=data)
    with pytest.raises(InputError, match=rf"limit_predict_batches is {limit}, .* images of all 3 batches"):
        task.on_predict_start()
    for whole in (3, 1.0):
        task.trainer = trainer(fast_dev_run=0, limit_predict_batches=whole, datamodule=data)
        task.on_predict_start()
