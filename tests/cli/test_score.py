"""`relattn score`: features from elsewhere get the same scores as from the library, `relattn search` and a formula."""

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relattn.cli.main import main, run
from relattn.metrics.distances import FeatureDistances
from relattn.metrics.ranks import Labels
from relattn.metrics.retrieval import retrieval
from relattn.tasks.embeddings import Embedding, Entry

HEADER = ["path", "identity", "camera", "split"]


def table(rows: list[tuple[str, ...]], header: list[str] = HEADER) -> Path:
    with Path("people.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return Path("people.csv")


def drawn(count: int = 60) -> tuple[np.ndarray[Any, Any], list[tuple[str, ...]]]:
    """Features of people from three cameras; some images show no one, and two files are both query and gallery."""
    generator = np.random.default_rng(0)
    who = generator.integers(0, 9, count)
    features = generator.normal(size=(9, 5))[who] + generator.normal(size=(count, 5))
    splits = ["query" if place < 15 else "train" if place < 20 else "gallery" for place in range(count)]
    files = [f"{place if place not in (30, 31) else place - 25}.jpg" for place in range(count)]
    names = [f"person {number}" if number else "-1" for number in who]
    return features, list(zip(files, names, map(str, generator.integers(0, 3, count)), splits, strict=True))


def score(*arguments: str) -> dict[str, float]:
    out = Path(f"scores-{len(list(Path().glob('scores-*')))}.json")
    assert run(["score", *arguments, "--out", str(out)]) == 0
    found: dict[str, float] = json.loads(out.read_text())["scores"]
    return found


def slow_rank1_and_map(features: np.ndarray[Any, Any], rows: list[tuple[str, ...]], same_camera: str) -> list[float]:
    """Scores by their definitions, from cosines in float64."""
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    firsts, precisions = [], []
    for q, (file, identity, camera, split) in enumerate(rows):
        if split != "query" or identity == "-1":
            continue
        ranking = []
        for g, other in enumerate(rows):
            if other[3] != "gallery" or other[1] == "-1" or other[0] == file:
                continue
            if other[1] == identity and other[2] == camera and same_camera == "junk":
                continue
            ranking.append((1 - units[q] @ units[g], other[1] == identity))
        matches = [match for _, match in sorted(ranking)]
        if any(matches):
            places = np.flatnonzero(matches) + 1
            firsts.append(100.0 * matches[0])
            precisions.append(100 * np.mean(np.arange(1, len(places) + 1) / places))
    return [float(np.mean(firsts)), float(np.mean(precisions))]


@pytest.mark.parametrize("same_camera", ["junk", "match"])
def test_the_scores_are_those_of_the_definition(same_camera: str, capsys: pytest.CaptureFixture[str]) -> None:
    features, rows = drawn()
    np.save("features.npy", features)
    found = score("features.npy", str(table(rows)), "--same_camera", same_camera)
    expected = slow_rank1_and_map(features, rows, same_camera)
    assert [found["rank1"], found["mAP"]] == pytest.approx(expected, rel=1e-12)
    said = capsys.readouterr().out
    junk = sum(row[1] == "-1" and row[3] == "gallery" for row in rows)
    assert (found["queries"], found["gallery"]) == (15, 40 - junk)
    assert found["unmatched"] >= sum(row[1] == "-1" and row[3] == "query" for row in rows) > 0
    assert "people.csv: 5 rows of the split train are left out" in said
    assert f"people.csv: {junk} gallery images of identity -1 show no one and are left out" in said
    assert re.search(rf"^mAP +{found['mAP']:.2f}$", said, re.MULTILINE)


@pytest.mark.slow
def test_features_distances_the_library_and_search_agree() -> None:
    features, rows = drawn()
    features = features.astype(np.float32)
    people = str(table(rows))
    np.save("features.npy", features)
    np.savez_compressed("features.npz", features=np.asfortranarray(features.astype(">f4")), other=np.zeros(2))
    found = score("features.npy", people)
    assert score("features.npz", people) == found
    Embedding(features, [Entry(*row) for row in rows], Path(), {}).save(Path("embedding"))
    assert run(["search", "--query", "embedding", "--gallery", "embedding", "--out", "found"]) == 0
    counted = {name: value for name, value in found.items() if name != "gallery"}
    assert json.loads(Path("found/ranking.json").read_text())["scores"] == counted
    query, gallery = ([place for place, row in enumerate(rows) if row[3] == split] for split in ("query", "gallery"))
    sides = [torch.from_numpy(features[places]) for places in (query, gallery)]
    matrix = FeatureDistances(*sides).rows(0, len(query)).numpy()
    labels = [
        Labels(*([rows[place][column] for place in places] for column in (1, 2, 0))) for places in (query, gallery)
    ]
    assert retrieval(matrix, *labels).scores().items() <= found.items()
    np.save("distances.npy", matrix)
    assert score("distances.npy", people, "--matrix") == pytest.approx(found)
    np.savez("distances.npz", distances=matrix.astype(np.float64))
    assert score("distances.npz", people, "--matrix") == pytest.approx(found)


def test_lists_of_the_nearest_images_and_other_ways_to_rank() -> None:
    features, rows = drawn()
    people = str(table(rows))
    np.save("features.npy", features)
    found = score("features.npy", people, "--rerank", "--expansion", "2", "--distance", "euclidean")
    assert {"mAP_reranked", "mINP_reranked", "rank1_expanded"} <= found.keys()
    query, gallery = (features[[row[3] == split for row in rows]] for split in ("query", "gallery"))
    matrix = np.linalg.norm(query[:, None] - gallery, axis=2)
    whole = score("features.npy", people, "--distance", "euclidean")
    np.save("distances.npy", matrix)
    assert score("distances.npy", people, "--matrix") == pytest.approx(whole)
    np.save("distances.npy", np.where(matrix <= np.sort(matrix)[:, [8]], matrix, np.inf))  # the nine nearest
    assert 0 < score("distances.npy", people, "--matrix")["mAP"] < whole["mAP"]


def test_a_table_without_splits_or_cameras_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    features = np.random.default_rng(0).normal(size=(12, 3))
    np.save("features.npy", features)
    people = str(table([(f"{place}.jpg", "ab"[place % 2]) for place in range(12)], ["file", "identity"]))
    found = score("features.npy", people)
    said = capsys.readouterr().out
    assert "no row has a split: every image is query and gallery, and its own file is no match" in said
    assert "12 images have no camera" in said
    assert (found["queries"], found["gallery"], found["unmatched"]) == (12, 12, 0)
    assert found["rank1"] < 100


GOOD = [("a.jpg", "1", "1", "query"), ("b.jpg", "1", "2", "gallery"), ("c.jpg", "2", "2", "gallery")]


@pytest.mark.parametrize(
    ("rows", "header", "arguments", "named"),
    [
        (GOOD[:2], HEADER, [], r"features are \(3, 2\), and people.csv has 2 rows"),
        (GOOD, HEADER, ["--matrix"], r"distances are \(3, 2\), and people.csv has 1 queries and 2 gallery"),
        (GOOD, HEADER, ["--expansion", "-1"], "--expansion is -1"),
        (GOOD, HEADER, ["--matrix", "--rerank"], "need features"),
        (GOOD, HEADER, ["--out", "people.csv"], "people.csv exists, and nothing is overwritten"),
        (GOOD, ["name", *HEADER[1:]], [], "line 1: no column path, but 'name,identity"),
        (GOOD, ["file", "path", "camera", "split"], [], "no column identity"),
        (GOOD, ["file", "identity", "path", "split"], [], "column path appears twice"),
        ([(*GOOD[0], "x"), *GOOD[1:]], HEADER, [], "line 2 has more entries than the header"),
        ([("a.jpg", "", "1", "query"), *GOOD[1:]], HEADER, [], "line 2: identity is empty"),
        ([("a.jpg", "1", "1", "qery"), *GOOD[1:]], HEADER, [], "line 2: split is 'qery'.*Closest: query"),
        ([("a.jpg", "1", "1", ""), *GOOD[1:]], HEADER, [], "1 rows have no split"),
        ([GOOD[1], ("b.jpg", "1", "1", "gallery"), GOOD[0]], HEADER, [], "line 3: b.jpg is gallery on line 2 already"),
        ([("a.jpg", "1", "1", "gallery"), *GOOD[1:]], HEADER, [], "no row has the split query"),
        ([("a.jpg", "-1", "1", "query"), *GOOD[1:]], HEADER, [], "1 show no one"),
        ([("a.jpg", "3", "1", "query"), *GOOD[1:]], HEADER, [], "for 1, the gallery has no image of the identity"),
        ([("a.jpg", "1", "2", "query"), *GOOD[1:]], HEADER, [], "same_camera: match"),
        ([("b.jpg", "1", "2", "query"), *GOOD[1:]], HEADER, ["--same_camera", "match"], "query's own file only"),
    ],
)
def test_what_is_wrong_is_said(
    rows: list[tuple[str, ...]],
    header: list[str],
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save("features.npy", np.arange(6.0).reshape(3, 2))
    monkeypatch.setattr(sys, "argv", ["relattn", "score", "features.npy", str(table(rows, header)), *arguments])
    assert main() == 2
    message = capsys.readouterr().err
    assert message.startswith("relattn: error: ")
    assert re.search(named, message, re.DOTALL), message


@pytest.mark.parametrize("name", ["features.npz", "features.npy"])
def test_arrays_that_are_none_are_refused(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez("features.npz", distances=np.zeros((3, 2)))
    np.save("features.npy", np.array([[1, 2], [3, 4], [5, 6]]))
    monkeypatch.setattr(sys, "argv", ["relattn", "score", name, str(table(GOOD))])
    assert main() == 2
    expected = "has no array features, but distances.*--matrix" if name.endswith("z") else "not torch.float32"
    assert re.search("floating point" if name.endswith("y") else expected, capsys.readouterr().err)
