"""`relattn embed` and `relattn search` with a briefly trained network on a tiny set in Market-1501's layout."""

import csv
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor
from small_runs import checkpoint_of, fit

from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.figures.contact_sheet import OTHER, QUERY, SAME, UNKNOWN, Row, Tile, layout
from relattn.inference.embed import load_network
from relattn.inference.search import Search, choose
from relattn.metrics.reranking import ReRanked
from relattn.preprocessing import Preprocessing
from relattn.tasks.decoding import read_image
from relattn.tasks.embedding_task import Flip
from relattn.tasks.embeddings import Embedding, Entry

GPUS = ["--gpus", "0"]
SIZE = (32, 16)
PARTS = ("bounding_box_train", "query", "bounding_box_test")


def picture(person: int, number: int) -> Image.Image:
    """Noise on blocks of a person's colours, 16 x 32 pixels."""
    blocks = np.random.default_rng(person).integers(0, 255, (4, 2, 3))
    noise = np.random.default_rng(1000 * person + number).normal(0, 60, (*SIZE, 3))
    return Image.fromarray((np.kron(blocks, np.ones((8, 8, 1))) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three folders: identities 1 to 4 for training; 5 to 8, a distractor and a box of no one for the search."""
    root = tmp_path_factory.mktemp("people")
    for part in PARTS:
        (root / part).mkdir()
    names = [(part, person, 1 + place % 2, place) for part, person, place in members()]
    names += [("bounding_box_test", 0, 1, 0), ("bounding_box_test", -1, 1, 0)]
    for part, person, camera, place in names:
        label = "-1" if person == -1 else f"{person:04d}"
        name = f"{label}_c{camera}s1_{place:06d}_01.jpg"
        picture(abs(person) + 50 * (person < 1), len(part) + place).save(root / part / name)
    return root


def members() -> list[tuple[str, int, int]]:
    train = [(PARTS[0], person, place) for person in range(1, 5) for place in range(4)]
    query = [(PARTS[1], person, place) for person in range(5, 9) for place in range(2)]
    return train + query + [(PARTS[2], person, place) for person in range(5, 9) for place in range(4)]


@pytest.fixture(scope="module")
def checkpoint(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        patch.setenv("RELATTN_RUN", "")
        patch.setattr("logging.raiseExceptions", False)
        few = ["--data.epoch_over", "identities", "--data.batch_size", "8", "--model.last_stride", "2"]
        with pytest.warns(UserWarning, match="not the published set"):
            return checkpoint_of(fit("reid", people, "--attention", "none", *few).absolute())


@pytest.fixture(scope="module")
def embedded(people: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding of all images."""
    folder = tmp_path_factory.mktemp("embedded") / "all"
    assert embed(checkpoint, people, folder) == 0
    return folder


def embed(checkpoint: Path, images: Path, out: Path | str, *arguments: str) -> int:
    given = ["--ckpt_path", str(checkpoint), "--images", str(images), "--out", str(out)]
    return run(["embed", *given, *GPUS, *arguments])


def search(query: Path, gallery: Path, *arguments: str) -> dict[str, Any]:
    """Search, and return the output."""
    out = Path("found") / str(len(list(Path().glob("found/*"))))
    assert run(["search", "--query", str(query), "--gallery", str(gallery), "--out", str(out), *GPUS, *arguments]) == 0
    return json.loads((out / "ranking.json").read_text()) | {"folder": out}


def features_of(checkpoint: Path, root: Path, entries: list[Entry], *, flip: Flip) -> np.ndarray[Any, Any]:
    """Features from the task's forward, one image at a time."""
    task, prepare = load_network(checkpoint, flip=flip).task, Preprocessing(SIZE, interpolation="antialiased")
    images = [torch.from_numpy(prepare(read_image(root / entry.path))).permute(2, 0, 1) for entry in entries]
    with torch.no_grad():
        return torch.cat([task(image[None]) for image in images]).numpy()


def made(folder: str, features: list[list[float]], people: str, cameras: str = "", **metadata: Any) -> Path:
    """Write an embedding by hand: a letter each for identity and camera, `?` if unknown."""
    cameras = cameras or "a" * len(people)
    labels = [[sign.replace("?", "") for sign in pair] for pair in zip(people, cameras, strict=True)]
    entries = [Entry(f"{index}.jpg", *pair) for index, pair in enumerate(labels)]
    Embedding(np.array(features, dtype=np.float32), entries, Path(folder), metadata).save(Path(folder))
    return Path(folder)


# --- embed ---


def test_an_embedding_holds_the_features_of_all_images_in_order(people: Path, checkpoint: Path, embedded: Path) -> None:
    found = Embedding.load(embedded)
    names = [entry.path for entry in found.entries]
    assert names == sorted(path.relative_to(people).as_posix() for path in people.rglob("*.jpg"))
    assert found.features.shape == (42, 64)
    assert found.features.dtype == np.float32
    wanted = features_of(checkpoint, people, found.entries, flip="none")
    np.testing.assert_allclose(found.features, wanted, atol=1e-5)
    entry = next(entry for entry in found.entries if entry.path == "query/0005_c2s1_000001_01.jpg")
    assert (entry.identity, entry.camera, entry.split) == ("5", "2", "")
    assert found.root == people.resolve()
    said = found.metadata
    assert (said["distance"], said["feature"], said["flip"]) == ("cosine", "after_norm", "none")
    assert (said["image_size"], said["interpolation"]) == (list(SIZE), "antialiased")
    assert (said["labels"], len(said["sha256"])) == ("market", 64)


def test_it_says_how_many_images_in_how_long(
    people: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed(checkpoint, people / "query", "out", "--flip", "--batch_size", "3", "--workers", "2")
    assert re.search(r"embedded 8 images in \d+\.\d s \(\d+ a second, cpu\), 64 dimensions", capsys.readouterr().out)
    found = Embedding.load(Path("out"))
    assert found.metadata["flip"] == "sum"
    wanted = features_of(checkpoint, people / "query", found.entries, flip="sum")
    np.testing.assert_allclose(found.features, wanted, atol=1e-5)


@pytest.mark.slow
def test_predict_and_embed_agree(people: Path, checkpoint: Path, embedded: Path) -> None:
    with pytest.warns(UserWarning, match="not the published set"):
        assert run(["predict", "--ckpt_path", str(checkpoint)]) == 0
    folder = checkpoint.parents[1] / "predict" / "embedding"
    predicted, everything = Embedding.load(folder), Embedding.load(embedded)
    rows = {entry.path: (row, entry) for row, entry in enumerate(everything.entries)}
    for feature, entry in zip(predicted.features, predicted.entries, strict=True):
        row, other = rows[entry.path]
        assert replace(entry, split="") == other
        np.testing.assert_allclose(feature, everything.features[row], atol=1e-5)
    found = search(folder, folder)
    assert len(found["queries"]) == 8
    assert found["gallery"]["images"] == 17
    result = json.loads((checkpoint.parents[1] / "result.json").read_text())["scores"]
    embedding = [str(folder / name) for name in ("features.npy", "manifest.csv")]
    assert run(["score", *embedding, "--out", "scores.json"]) == 0  # one protocol, one set of numbers
    scored = json.loads(Path("scores.json").read_text())["scores"]
    assert scored.pop("gallery") == 17
    assert scored == found["scores"]
    names = [name.removeprefix("test/") for name in result if name.startswith("test/")]
    for name in set(names) - {"score", "loss"}:
        assert scored[name] == pytest.approx(result[f"test/{name}"], abs=1e-4)


def test_a_table_says_which_images_and_who(people: Path, checkpoint: Path) -> None:
    rows = [
        {"path": "query/0006_c1s1_000000_01.jpg", "identity": "ben", "camera": "till", "split": "query", "age": "4"},
        {"path": "./query/0005_c1s1_000000_01.jpg", "identity": "anna", "camera": "", "split": "", "age": "5"},
    ]
    with Path("people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    embed(checkpoint, people, "out", "--manifest", "people.csv")
    found = Embedding.load(Path("out"))
    assert found.entries == [
        Entry("query/0005_c1s1_000000_01.jpg", "anna"),
        Entry("query/0006_c1s1_000000_01.jpg", "ben", "till", "query"),
    ]
    embed(checkpoint, people, "again", "--manifest", "out/manifest.csv")  # an embedding contains such a table
    np.testing.assert_array_equal(Embedding.load(Path("again")).features, found.features)


def damage(kind: str) -> None:
    """Two images, and a third that is damaged."""
    Path("images").mkdir()
    for number in range(2):
        picture(1, number).save(f"images/{number}.jpg")
    content = Path("images/1.jpg").read_bytes()
    cut = {"cut off": content[:-50], "empty": b"", "decoded": content[:4] + b"\0" * 40 + content[-4:]}
    Path("images/bad.jpg").write_bytes(cut[kind])


@pytest.mark.parametrize("kind", ["cut off", "empty", "decoded"])
def test_corrupt_images_are_named(kind: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(kind)
    with pytest.raises(InputError, match=rf"(?s)1 of 3 images.*bad\.jpg \(.*{kind}.*--skip_corrupt"):
        embed(checkpoint, Path("images"), "out")
    assert not Path("out").exists()
    embed(checkpoint, Path("images"), "out", "--skip_corrupt")
    assert [entry.path for entry in Embedding.load(Path("out")).entries] == ["0.jpg", "1.jpg"]
    assert re.search(r"1 unreadable image is left out: bad\.jpg", capsys.readouterr().out)
    for number in range(2):
        Path(f"images/{number}.jpg").unlink()
    with pytest.raises(InputError, match="None of the 1 images can be read"):
        embed(checkpoint, Path("images"), "none", "--skip_corrupt")


# --- search ---


def brute_force(embedded: Path, query: str) -> list[tuple[str, float]]:
    """The ranking for an image by cosine, without junk and the image itself, from the files on disk."""
    features = np.load(embedded / "features.npy").astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    with (embedded / "manifest.csv").open() as file:
        entries = list(csv.DictReader(file))
    paths = [entry["path"] for entry in entries]
    mine = entries[paths.index(query)]
    distances = 1 - features @ features[paths.index(query)]
    kept = [
        (distance, entry["path"])
        for distance, entry in zip(distances, entries, strict=True)
        if entry["identity"] != "-1" and (entry["identity"], entry["camera"]) != (mine["identity"], mine["camera"])
    ]
    return [(path, distance) for distance, path in sorted(kept)]


@pytest.mark.slow
def test_the_ranking_is_that_of_the_features_without_junk(embedded: Path, people: Path, checkpoint: Path) -> None:
    found = search(people / "query", embedded, "--ckpt_path", str(checkpoint), "--top", "50")
    assert (found["gallery"]["images"], len(found["queries"])) == (41, 8)  # without the box of no one
    for entry in found["queries"]:
        wanted = brute_force(embedded, f"query/{entry['path']}")
        assert entry["left_out"] == 41 - len(wanted) == 3
        ranking = entry["ranking"]
        assert [result["rank"] for result in ranking] == list(range(1, 39))
        distances = dict(wanted)
        for result, (_, distance) in zip(ranking, wanted, strict=True):  # equal ones may stand in another order
            assert result["distance"] == pytest.approx(distance, abs=2e-5)
            assert distances[result["path"]] == pytest.approx(distance, abs=2e-5)
            assert result["match"] == (result["identity"] == entry["identity"])
        assert {result["camera"] for result in ranking if result["match"]} == {str(3 - int(entry["camera"]))}
    assert sorted({entry["sheet"] for entry in found["queries"]}) == sorted(
        path.name for path in found["folder"].glob("*.png")
    )


@pytest.mark.slow
def test_frames_on_a_sheet_have_the_colours_of_the_ranking(embedded: Path, people: Path) -> None:
    found = search(embedded, embedded, "--top", "12", "--queries", "6")
    entries = [entry for entry in found["queries"] if entry["sheet"] == "sheet-01.png"]
    assert len(entries) == 4, "each has two lines"
    sheet = Image.open(found["folder"] / "sheet-01.png").convert("RGB")
    tile = Tile(picture(1, 1), "")
    place = layout([Row(tile, [tile] * 12)] * 4)
    colours = {match: ImageColor.getrgb(c) for match, c in ((True, SAME), (False, OTHER), (None, UNKNOWN))}
    for row, entry in enumerate(entries):
        assert sheet.getpixel(place.query(row)[:2]) == ImageColor.getrgb(QUERY)
        for index, result in enumerate(entry["ranking"]):
            assert sheet.getpixel(place.result(row, index)[:2]) == colours[result["match"]]
    assert {colours[result["match"]] for entry in entries for result in entry["ranking"]} >= {
        colours[False],
        colours[None],
    }


def test_one_image_is_searched_and_does_not_find_itself(embedded: Path, people: Path, checkpoint: Path) -> None:
    shutil.copytree(people / "query", "here")
    Path("here/0005_c1s1_000000_01.jpg").rename("here/someone.jpg")
    given = ["--ckpt_path", str(checkpoint)]
    found = search(Path("here/someone.jpg"), Path("here"), *given)
    (entry,) = found["queries"]
    assert (entry["path"], entry["identity"], entry["left_out"]) == ("someone.jpg", None, 1)
    assert "someone.jpg" not in [result["path"] for result in entry["ranking"]]
    assert {result["match"] for result in entry["ranking"]} == {None}
    assert found["scores"] is None


def test_cameras_may_be_ignored_and_unknown_ones_are_no_junk(capsys: pytest.CaptureFixture[str]) -> None:
    query = made("query", [[1, 0], [0, 1]], "ab", "x?")
    gallery = made("gallery", [[1, 0.1], [1, 0.2], [0.9, 0.5], [0, 1]], "aaab", "xy??")
    found = search(query, gallery)
    ranks = [[result["path"] for result in entry["ranking"]] for entry in found["queries"]]
    assert ranks == [["1.jpg", "2.jpg", "3.jpg"], ["3.jpg", "2.jpg", "1.jpg", "0.jpg"]]
    assert {name: found["scores"][name] for name in ("rank1", "mAP", "queries", "unmatched")} == {
        "rank1": 100,
        "mAP": 100,
        "queries": 2,
        "unmatched": 0,
    }
    output = capsys.readouterr().out
    assert "rank-1 100.00 %, mAP 100.00 % (2 queries)" in output
    assert "6 images cannot be read or are not those that were embedded, and are shown in grey" in output
    ignored = search(query, gallery, "--same_camera", "match")
    assert [result["path"] for result in ignored["queries"][0]["ranking"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_query_whose_images_are_all_junk_has_an_empty_row(capsys: pytest.CaptureFixture[str]) -> None:
    query = made("query", [[1, 0]], "a")
    found = search(query, made("gallery", [[1, 0]], "a"))
    assert found["queries"][0]["ranking"] == []
    assert found["scores"] is None
    said = capsys.readouterr().out
    assert "1 query has an empty ranking, such as 0.jpg: everything in the gallery is of its identity by its" in said
    assert "no scores: Queries without a match in the gallery: 1 of 1" in said
    assert (found["folder"] / "sheet-01.png").is_file()


@pytest.mark.slow
def test_distances_and_reranking() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 6)).tolist()
    query, gallery = made("query", features[:9], "a" * 9, "x" * 9), made("gallery", features[9:], "b" * 31, "y" * 31)
    found = search(query, gallery, "--distance", "euclidean", "--top", "31")
    plain = np.linalg.norm(np.array(features[0]) - np.array(features[9:]), axis=1)
    assert [result["path"] for result in found["queries"][0]["ranking"]] == [f"{i}.jpg" for i in np.argsort(plain)]
    assert found["queries"][0]["ranking"][0]["distance"] == pytest.approx(plain.min(), abs=1e-4)
    reranked = search(query, gallery, "--rerank", "--top", "3")
    parts = torch.tensor(features[:9]), torch.tensor(features[9:])
    rows = ReRanked(*parts).rows(0, 9)
    for entry, row in zip(reranked["queries"], rows, strict=True):
        assert [result["path"] for result in entry["ranking"]] == [f"{i}.jpg" for i in row.argsort()[:3].tolist()]


@pytest.mark.slow
def test_some_of_many_queries_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    features = np.random.default_rng(0).normal(size=(60, 4)).tolist()
    query, gallery = made("query", features, "?" * 60), made("gallery", features[:3], "???")
    first = search(query, gallery)
    assert [entry["path"] for entry in first["queries"]] == [f"{index}.jpg" for index in range(50)]
    assert "50 of 60 queries are shown; --queries 60 shows all" in capsys.readouterr().out
    assert sorted(path.name for path in first["folder"].glob("*.png")) == [f"sheet-0{page}.png" for page in range(1, 8)]
    drawn = [entry["path"] for entry in search(query, gallery, "--queries", "5", "--seed", "3")["queries"]]
    assert len(set(drawn)) == 5
    assert drawn != [f"{index}.jpg" for index in range(5)]
    assert drawn == [f"{index}.jpg" for index in choose(60, 5, 3)]


def test_distractors_are_nobody_in_particular(embedded: Path) -> None:
    everything = Embedding.load(embedded)
    searched = Search(everything, everything)
    queries = {entry.path: entry for entry in searched.query.entries}
    assert queries["bounding_box_test/0000_c1s1_000000_01.jpg"].identity == ""
    gallery = {entry.path: entry for entry in searched.gallery.entries}
    assert gallery["bounding_box_test/0000_c1s1_000000_01.jpg"].identity == "0"
    assert not any(path.startswith("bounding_box_test/-1") for path in gallery)
    with pytest.raises(InputError, match="identity of 1 of 42 queries is not known"):
        searched.scores()


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (["20240301_c1_000001.jpg", "20240301_c1_000002.jpg"], 0),  # a date, a channel, a number: of cctv
        (["2024_c0ffee12.jpg", "2024_c1_000001.jpg"], 0),
        (["0002_c1s1_000451_03.jpg", "0002_c3s1_000551_00.jpg"], 2),
        (["0002_c1s1_000451_03.jpg", "2024_c1_000001.jpg"], 1),
    ],
)
@pytest.mark.slow
def test_labels_are_read_from_names_that_fit_wholly_and_never_in_silence(
    names: list[str], known: int, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos").mkdir()
    for number, name in enumerate(names):
        picture(1, number).save(f"photos/{name}")
    given = [Path("photos") / names[0], Path("photos"), "--ckpt_path", str(checkpoint)]
    found = search(*given)
    (entry,) = found["queries"]
    assert [result["path"] for result in entry["ranking"]] == names[1:]  # nothing but the query itself is left out
    said = capsys.readouterr().out
    line = (
        f"--gallery photos: identities and cameras of {known} of 2 images are read from their names, such as {names[0]}"
    )
    assert (line in said) == (known > 0)
    assert search(*given, "--pattern", "none")["queries"][0]["identity"] is None
    assert "are read from their names" not in capsys.readouterr().out
    search(*given, "--pattern", "(?P<identity>nobody)")
    assert "no name of 2 fits --pattern (?P<identity>nobody), so no identity is known" in capsys.readouterr().out


def test_a_link_to_the_query_is_the_query(checkpoint: Path) -> None:
    Path("photos").mkdir()
    for number in range(3):
        picture(1, number).save(f"photos/{number}.jpg")
    Path("query.jpg").symlink_to("photos/0.jpg")
    found = search(Path("query.jpg"), Path("photos"), "--ckpt_path", str(checkpoint))
    assert sorted(result["path"] for result in found["queries"][0]["ranking"]) == ["1.jpg", "2.jpg"]


# --- what is wrong ---


@pytest.fixture(scope="module")
def wrong_folder(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the wrong command lines below name."""
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("empty").mkdir()
        Path("taken").mkdir()
        Path("taken/file").touch()
        Path("twice.csv").write_text("path\nquery/0005_c1s1_000000_01.jpg\nquery/0005_c1s1_000000_01.jpg\n")
        Path("gone.csv").write_text("path,identity\nquery/gone.jpg,5\n")
        Path("outside.csv").write_text("path\n../x.jpg\n")
        Path("headless.csv").write_text("file\nx.jpg\n")
        Path("no.ckpt").write_bytes(b"no checkpoint")
        shutil.copytree(embedded, "torn")
        Path("torn/manifest.csv").write_text("path,identity,camera,split\n")
        made("narrow", [[1, 0]], "a")
        made("elsewhere", np.ones((1, 64)).tolist(), "a", sha256="0" * 64, checkpoint="other.ckpt")
        made("mirrored", np.ones((1, 64)).tolist(), "a", flip="sum")
        made("zero", np.zeros((1, 64)).tolist(), "a")
    return folder


@pytest.fixture
def wrong(
    wrong_folder: Path, embedded: Path, people: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Names for the parts of the wrong command lines below."""
    monkeypatch.chdir(wrong_folder)
    return {"C": str(checkpoint), "I": str(people), "E": str(embedded), "J": str(people / "query")}


EMBED = "embed --gpus 0 --out out"
SEARCH = "search --gpus 0 --out out"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (f"{EMBED} --ckpt_path none.ckpt --images I", "--ckpt_path none.ckpt: there is no such file"),
        (f"{EMBED} --ckpt_path no.ckpt --images I", "no.ckpt cannot be read as a checkpoint"),
        (f"{EMBED} --ckpt_path C --images nowhere", "nowhere: there is no such folder"),
        (f"{EMBED} --ckpt_path C --images empty", "empty holds no images: expected files that end in .jpg"),
        (f"{EMBED} --ckpt_path C --images I --out taken", "taken exists, and nothing is overwritten. Choose another"),
        (
            f"{EMBED} --ckpt_path C --images I --pattern markt",
            "is none of market, duke, cuhk03, none.* Closest: market",
        ),
        (f"{EMBED} --ckpt_path C --images I --pattern (x", "is not a regular expression"),
        (f"{EMBED} --ckpt_path C --images I --pattern none --manifest x", "Use one of them"),
        (f"{EMBED} --ckpt_path C --images I --manifest none.csv", "none.csv: there is no such table"),
        (f"{EMBED} --ckpt_path C --images I --manifest twice.csv", "line 3: .* is on line 2 already"),
        (f"{EMBED} --ckpt_path C --images I --manifest gone.csv", "query/gone.jpg .line 2."),
        (f"{EMBED} --ckpt_path C --images I --manifest outside.csv", "line 2: path is '../x.jpg'"),
        (f"{EMBED} --ckpt_path C --images I --manifest headless.csv", "no column path in 'file'"),
        (f"{EMBED} --ckpt_path C --images I --batch_size 0", "--batch_size is 0, expected at least 1"),
        (f"{EMBED} --ckpt_path C --images I --gpus 0,1", "--gpus is '0,1', and this command uses one device"),
        (f"{EMBED} --ckpt_path C --images I --gpus 97,", "GPUs"),
        (f"{SEARCH} --query nowhere --gallery E", "--query nowhere: there is no such image"),
        (f"{SEARCH} --query J --gallery E", "contains images and no features. .*--ckpt_path"),
        (f"{SEARCH} --query E --gallery gone.csv", "gone.csv is a file. Expected a folder"),
        (f"{SEARCH} --query E --gallery empty --ckpt_path C", "empty holds no images"),
        (f"{SEARCH} --query gone.csv --gallery E --ckpt_path C", "1 of 1 images cannot be read: gone.csv"),
        (f"{SEARCH} --query E --gallery narrow", "64 dimensions and gallery features 2"),
        (f"{SEARCH} --query E --gallery elsewhere", "checkpoint is .*last.ckpt .* for the query and other.ckpt"),
        (f"{SEARCH} --query J --gallery elsewhere --ckpt_path C", "checkpoint is .*last.ckpt .* and other.ckpt"),
        (f"{SEARCH} --query E --gallery mirrored", "flip is none for the query and sum for the gallery"),
        (f"{SEARCH} --query E --gallery zero", "Feature 0 of the gallery .* is zero"),
        (f"{SEARCH} --query E --gallery torn", "42, 64. of float32, and manifest.csv has 0 rows"),
        (f"{SEARCH} --query E --gallery E --out taken", "taken exists"),
        (f"{SEARCH} --query E --gallery E --top 0", "--top is 0"),
        (f"{SEARCH} --query E --gallery E --seed -1", "--seed is -1"),
        (f"{SEARCH} --query E --gallery E --pattern none", "query and gallery are embeddings. Leave it out"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    line: str,
    named: str,
    wrong: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["relattn", *(wrong.get(part, part) for part in line.split())])
    assert main() == 2
    message = capsys.readouterr().err
    assert "relattn: error:" in message
    assert "Traceback" not in message
    assert re.search(named, message, re.DOTALL), message
    assert not Path("out").exists()


def test_a_checkpoint_of_another_task_is_refused(people: Path, classification_run: Path) -> None:
    with pytest.raises(InputError, match=r"of the task classification, whose features are not compared.*embeds images"):
        embed(classification_run, people, "out")
