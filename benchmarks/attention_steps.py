"""A training step of ResNet-50 at 256x128 with each attention beside the plain network: time and memory.

    python benchmarks/attention_steps.py
    python benchmarks/attention_steps.py --attention all      # every recipe of conf/attention

Each network has processes of its own, which take turns, as a user's training has one. What RGA-SC computes again takes
turns apart from the other modules, and is also compared in one process, where the networks have the same weights.
`relattn benchmark` measures.
"""

from claims import apart, of_costs, parser, report

from relattn.cli.catalogue import recipes
from relattn.cli.costs import measure
from relattn.costs.side_by_side import Claim

MAIN = ["rga_sc", "se", "cbam_cs", "nl", "stra"]


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=4)
    options.add_argument("--attention", nargs="+", default=MAIN, help=f"recipes, or all ({' '.join(MAIN)})")
    options.add_argument("--batch_size", type=int, default=8)
    options.add_argument("--device", default="cpu")
    asked = options.parse_args(arguments)
    chosen = list(recipes("attention")) if asked.attention == ["all"] else asked.attention
    backbone, image, batch = ("resnet18", "64x32", 2) if asked.quick else ("resnet50", "256x128", asked.batch_size)
    network = ["--backbone", backbone, "--size", image, "--last_stride", "1", "--batch_size", str(batch)]
    where = ["--no_materialised", "--device", asked.device]
    sizes = {"batch": batch, "image": image}

    def beside_plain(*options: str) -> list[Claim]:
        plain, *others = measure([*options, *network, *where, *apart(asked)])
        return [claim for cost in others for claim in of_costs(cost.name, cost, plain, kind="cost", sizes=sizes)]

    claims = []
    if others := [name for name in chosen if name != "rga_sc"]:
        claims += beside_plain("--attention", *others)
    if "rga_sc" in chosen:
        recompute = ["--attention", "rga_sc", "--recompute", "cheap", "nothing", "all"]
        claims += beside_plain(*recompute)
        one_process = ["--rounds", str(asked.rounds), "--warmup", "1"]
        _, cheap, nothing, everything = measure([*recompute, *network, *where, *one_process])
        for name, cost in (("cheap", cheap), ("all", everything)):
            claims += of_costs(f"one process, {name} beside nothing", cost, nothing, kind="cost", sizes=sizes)
    report("attention_steps", asked, claims, device=asked.device)


if __name__ == "__main__":
    main()
