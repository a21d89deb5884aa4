"""The benchmark's numbers mean what they say."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from relattn.attention import RGA
from relattn.cli.main import run
from relattn.costs.materialised import has_relations, materialised
from relattn.costs.measure import compare, count_macs, peak_memory


@pytest.mark.parametrize("embedding", ["asymmetric", "symmetric", "none"])
def test_the_materialised_form_has_the_same_weights_and_outputs(embedding: str) -> None:
    factored = RGA(8, size=(6, 4), embedding=embedding, embedding_ratio=2, reduction_ratio=2).double()
    slow, x = materialised(factored), torch.randn(3, 8, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(factored(x), slow(x), rtol=1e-12, atol=1e-12)
    assert list(factored.state_dict()) == list(slow.state_dict())
    assert "embed_relations" not in vars(factored.spatial), "the original must stay as it is"


def test_nothing_to_materialise_without_relations() -> None:
    assert has_relations(RGA(8, size=(4, 4)))
    assert not has_relations(RGA(8, size=(4, 4), relation=False))
    assert not has_relations(nn.Conv2d(3, 3, 1))


def test_macs_are_counted_for_one_image() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7))
    assert count_macs(network, torch.randn(4, 3, 10, 12)) == 10 * 12 * 27 * 5 + 5 * 7


def test_peak_memory_sees_what_a_step_holds() -> None:
    def step() -> None:
        first = torch.zeros(1 << 20)
        second = first + 1
        del first, second

    assert peak_memory(step, torch.device("cpu")) == pytest.approx(2 * 4 * 2**20, rel=0.05)


def test_networks_take_turns_on_the_same_inputs() -> None:
    seen: list[str] = []

    class Noted(nn.Linear):
        def __init__(self, name: str) -> None:
            super().__init__(3, 3)
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(self.name)
            return super().forward(x)

    costs = compare({"a": Noted("a"), "b": Noted("b")}, torch.randn(2, 3), rounds=2, warmup=1)
    assert seen[:6] == ["a", "b"] * 3
    assert [cost.name for cost in costs] == ["a", "b"]
    assert all(cost.fastest <= cost.milliseconds <= cost.slowest for cost in costs)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--backbone resnet8 --attention none rga_sc --size 32x32 --batch_size 2 --rounds 1 --warmup 1"
    assert (
        run(["benchmark", *arguments.split(), "--classes", "100", "--json", str(tmp_path / "deep" / "cost.json")]) == 0
    )
    costs = json.loads((tmp_path / "deep" / "cost.json").read_text())["costs"]
    assert [cost["name"] for cost in costs] == ["resnet8", "resnet8 + rga_sc", "resnet8 + rga_sc, materialised"]
    assert costs[1]["parameters"] == costs[2]["parameters"] == costs[0]["parameters"] + 1_329_772
    assert costs[1]["macs"] < costs[2]["macs"] / 4  # 34 million against 571
    assert costs[1]["peak_bytes"] < costs[2]["peak_bytes"]
    assert "rga_sc, materialised" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--attention", "rga_cs", "--device", "cuda"], "finds no GPU"),
        (["--attention", "none"], "nothing to measure"),
        (["--attention", "rga_x"], "Closest: rga_"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="one case asks for a GPU that is not there")
def test_bad_requests_are_named(arguments: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        run(["benchmark", *arguments])
