"""Reads offline W&B runs back from their files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: after 7 bytes, blocks of 32 KiB with pieces of checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a complete record, or its last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def values(items: Any) -> dict[str, Any]:
    """Keys and values of a record's items."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def read(file: Path) -> dict[str, Any]:
    """The content of a `.wandb` file: the run, its configuration, the rows of its history, its summary, its metrics."""
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "metrics": {}}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
        elif kind == "config":
            found["config"] |= values(record.config.update)
        elif kind == "history":
            found["history"].append(values(record.history.item))
        elif kind == "summary":
            found["summary"] |= values(record.summary.update)
        elif kind == "metric":
            found["metrics"][record.metric.name] = record.metric
    return found


def history(folder: Path) -> list[dict[str, float]]:
    """The numbers in the history of a run's folder, which must contain one offline run."""
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    found = [
        {name: value for name, value in row.items() if name[0] != "_" and isinstance(value, int | float)}
        for row in read(file)["history"]
    ]
    return [row for row in found if row]
