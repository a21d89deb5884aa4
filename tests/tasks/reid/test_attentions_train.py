"""Every attention recipe trains through the command line: two batches of a re-identification run, then its test."""

import math
from pathlib import Path

import pytest
from small_runs import fit, result

from relattn.cli import catalogue

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

TINY = ["--backbone", "resnet14t", "--data.batch_size", "8"]

QUICK = ("se", "stra")
"""Attention in blocks, and in place of convolutions; every task's small run has attention after stages."""


@pytest.mark.parametrize(
    "recipe",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in catalogue.recipes("attention")],
)
@pytest.mark.slow
def test_a_recipe_trains_and_its_run_is_called_by_it(recipe: str, people: Path) -> None:
    folder = fit("reid", people, *TINY, "--attention", recipe)
    assert folder.name.startswith(f"market1501-resnet14t-{recipe}-")
    assert folder.name.endswith("-s16")
    found = result(folder)
    assert (found["attention"], found["steps"]) == (recipe, 2)
    assert all(math.isfinite(value) for value in found["scores"].values())
    losses = {name: found["scores"][f"train/{name}"] for name in ("loss", "identity_loss", "metric_loss")}
    own = losses.pop("loss") - sum(losses.values())  # of the attention: StRA's diversity term, if it has modes
    assert (own > 1e-3) == (recipe.startswith("stra") and recipe != "stra_local")
    assert (folder / "checkpoints" / "last.ckpt").is_file()
