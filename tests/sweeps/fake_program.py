"""Stands in for training: writes a run's files into the given folder, after the given time."""

import json
import os
import sys
import time
import zlib
from pathlib import Path

options = dict(part.removeprefix("--").split("=", 1) for part in sys.argv[1:] if "=" in part)
folder = Path(os.environ["RELATTN_RUN"])
with (folder / "starts.txt").open("a") as file:
    file.write("started\n")
if options.get("attention") in os.environ.get("FAKE_FAILS", "none of them").split(","):
    sys.exit("this network explodes")
if (hold := os.environ.get("FAKE_HOLD")) and Path(hold).exists():
    while Path(hold).exists():
        time.sleep(0.02)
value = 50 + zlib.crc32(" ".join(sys.argv[1:]).encode()) % 4000 / 100
epochs = 4
lines = ["epoch,step,train/loss,val/score"]
lines += [
    f"{epoch},{10 * epoch + 9},{3 / (epoch + 1) + value / 500:.3f},{value * (epoch + 1) / epochs:.3f}"
    for epoch in range(epochs)
]
(folder / "metrics.csv").write_text("\n".join(lines) + "\n")
(folder / "config.yaml").write_text(f"trainer:\n  max_epochs: {epochs}\n")
names = ("score", "rank1", "mAP", "mAP_trapezoid", "error", "mIoU")
scores = {f"test/{name}": value + number for number, name in enumerate(names)}
scores |= {f"test/IoU/{name}": value - number for number, name in enumerate(("road", "car"))}
result = {
    "task": options.get("task", "fake"),
    "data": options.get("data", "Fake"),
    "genuine": os.environ.get("FAKE_GENERATED") is None,
    "parameters": 25_100_000 + 1000 * int(value * 40),
    "epochs": epochs,
    "scores": scores,
    "seconds": 1.5,
    "device": "cpu",
    "versions": {"torch": os.environ.get("FAKE_TORCH", "2.15.0")},
}
(folder / ".result").write_text(json.dumps(result))
(folder / ".result").replace(folder / "result.json")
