"""Every attention recipe trains through the command line: two batches of a re-identification run, then its test."""

import json
import math
from pathlib import Path

import pytest

from relattn.cli import catalogue
from relattn.cli.main import run

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published set")

TINY = [
    *("fit", "--task", "reid", "--data", "Market1501", "--backbone", "resnet14t", "--model.pretrained", "false"),
    *("--gpus", "0", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--data.workers", "0"),
    *("--data.image_size", "[64,32]", "--data.batch_size", "8"),
]

QUICK = ("rga_sc", "se", "stra", "non_local_rga_s")
"""After stages, in blocks, in place of convolutions, and one made of others; the rest take longer together."""


@pytest.mark.parametrize(
    "recipe",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in catalogue.recipes("attention")],
)
def test_a_recipe_trains_and_its_run_is_called_by_it(recipe: str, people: Path) -> None:
    assert run([*TINY, "--attention", recipe, "--data.root", str(people)]) == 0
    folder = Path(f"runs/reid/market1501-resnet14t-{recipe}-s16")
    found = json.loads((folder / "result.json").read_text())
    assert (found["attention"], found["steps"]) == (recipe, 2)
    assert all(math.isfinite(value) for value in found["scores"].values())
    losses = {name: found["scores"][f"train/{name}"] for name in ("loss", "identity_loss", "triplet_loss")}
    own = losses.pop("loss") - sum(losses.values())  # of the attention: StRA's diversity term, if it has modes
    assert (own > 1e-3) == (recipe.startswith("stra") and recipe != "stra_local")
    assert (folder / "checkpoints" / "last.ckpt").is_file()
