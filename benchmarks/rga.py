"""RGA in factored form compared with the materialised relation: time and memory, of the module and in ResNet-50.

    python benchmarks/rga.py

Both have the same weights and the same output. The modules take turns in one process; each network has a process of its
own, since their memory would interfere. `relattn benchmark` does the measuring and has more options.
"""

from claims import against_slow_forms, apart, parser, report

from relattn.cli.costs import measure


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=4)
    options.add_argument("--device", default="cpu")
    asked = options.parse_args(arguments)
    name, image, batch = ("resnet18", "64x32", 2) if asked.quick else ("resnet50", "256x128", 8)
    network = ["--attention", "rga_sc", "--backbone", name, "--size", image, "--last_stride", "1"]
    shared = ["--batch_size", str(batch), "--device", asked.device]
    claims = against_slow_forms(measure([*network, *shared, *apart(asked)]), sizes={"batch": batch, "image": image})

    channels, size = (64, "16x8") if asked.quick else (256, "64x32")
    module = ["--attention", "rga_sc", "rga_s", "rga_c", "--channels", str(channels), "--size", size]
    turns = ["--rounds", str(2 * asked.rounds), "--warmup", "1" if asked.quick else "4"]
    sizes = {"batch": batch, "channels": channels, "map": size}
    claims += against_slow_forms(measure([*module, *shared, *turns]), sizes=sizes)
    report("rga", asked, claims, device=asked.device)


if __name__ == "__main__":
    main()
