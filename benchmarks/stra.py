"""StRA's and SASA's local attention by shifts, compared with `F.unfold`, multiply and sum: time and memory of modules.

    python benchmarks/stra.py

Both have the same weights and the same output. `relattn benchmark` does the measuring and has more options.
"""

from claims import against_slow_forms, parser, report

from relattn.cli.costs import measure


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=9)
    options.add_argument("--device", default="cpu")
    asked = options.parse_args(arguments)
    channels, size, batch = (64, "8x4", 2) if asked.quick else (512, "16x8", 16)
    what = ["--attention", "stra", "sasa", "--channels", str(channels), "--size", size, "--batch_size", str(batch)]
    turns = ["--rounds", str(asked.rounds), "--warmup", "1" if asked.quick else "5", "--device", asked.device]
    sizes = {"channels": channels, "map": size, "batch": batch}
    report("stra", asked, against_slow_forms(measure([*what, *turns]), sizes=sizes), device=asked.device)


if __name__ == "__main__":
    main()
