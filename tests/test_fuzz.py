"""Whatever a file contains, its reader returns data or one of the suite's own errors; and invariants hold for all data.

Records, packs of pairs, checkpoints and retrieval have their own tests of this kind in `tests/tasks` and
`tests/metrics`.
"""

import contextlib
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.lightning.recipes import read_config
from relattn.errors import InputError
from relattn.inference.image_folder import listed_images
from relattn.metrics.confusion import confusion_matrix, score_confusion
from relattn.metrics.verification import verification
from relattn.tasks.classification.cifar import read_batches
from relattn.tasks.decoding import decode_wholly
from relattn.tasks.face.pairs import read_pairs
from relattn.tasks.face.sources import read_exclusions
from relattn.tasks.name_patterns import label_reader
from relattn.tasks.reid import ReID
from relattn.tasks.reid.manifest import numbering, read_manifest
from relattn.tasks.reid.market1501 import MARKET, read_folder
from relattn.tasks.reid.msmt17 import read_list
from relattn.tasks.samplers import IdentityBatches, InOrder, Shuffled
from relattn.tasks.segmentation.labels import CAMVID, CITYSCAPES, IGNORED, LabelMap, own_labels

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@contextlib.contextmanager
def nothing_but_ours() -> Iterator[None]:
    """Allow the suite's own errors, whose message must not be empty."""
    try:
        yield
    except InputError as error:
        if not str(error).strip():
            pytest.fail("an error without a message")


# --- Files ------------------------------------------------------------------------------------------------------------


@quick
@given(
    st.dictionaries(
        st.sampled_from(["data", "labels", "other"]),
        VALUES
        | arrays.arrays(np.uint8, st.tuples(st.integers(0, 2), st.sampled_from([0, 3072, 3073])))
        | arrays.arrays(st.sampled_from([np.float32, np.int64, np.uint8]), st.integers(0, 3))
        | st.lists(st.integers(-1, 11), max_size=2),
    )
    | VALUES
)
def test_whatever_cifar_s_pickle_holds(tmp_path: Path, content: object) -> None:
    (tmp_path / "train").write_bytes(pickle.dumps(content, protocol=2))
    with nothing_but_ours():
        images, labels = read_batches(tmp_path, {"train": ""}, "labels", 10)
        assert images.shape == (len(labels), 32, 32, 3)
        assert labels.dtype == torch.int64


@quick
@given(st.data())
def test_however_cifar_s_pickle_is_damaged(tmp_path: Path, data: st.DataObject) -> None:
    whole = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 9], "filenames": ["a", "b"]}, protocol=2)
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 200) | st.integers(-200, -1))
        content[place : place + 1 or None] = data.draw(st.binary(max_size=3))
    (tmp_path / "train").write_bytes(bytes(content[: data.draw(st.none() | st.integers(0, len(content)))]))
    with nothing_but_ours():
        read_batches(tmp_path, {"train": ""}, "labels", 10)


CELLS = st.sampled_from(
    [
        "path",
        "identity",
        "camera",
        "split",
        "train",
        "query",
        "gallery",
        "a.jpg",
        "b.jpg",
        "../a.jpg",
        "/a",
        "",
        " ",
        "7",
    ]
) | st.text(max_size=4)
TABLES = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6).map("\n".join)


@quick
@given(
    st.sampled_from(["", "path,identity,camera,split\n", "path,split,identity\n", "\ufeffpath\n"]), TABLES | st.binary()
)
def test_whatever_a_table_of_people_holds(tmp_path: Path, header: str, rows: str | bytes) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    file = tmp_path / "people.csv"
    file.write_bytes(header.encode() + (rows if isinstance(rows, bytes) else rows.encode("utf-8", "surrogatepass")))
    with nothing_but_ours():
        splits = read_manifest(file)
        assert {image.path for image in (*splits.train, *splits.query, *splits.gallery)} <= {"a.jpg", "b.jpg"}
    with nothing_but_ours():
        assert {entry.path for entry in listed_images(tmp_path, file)} <= {"a.jpg", "b.jpg"}


LINES = st.lists(
    st.lists(
        st.sampled_from(["anna", "ben", "1", "2", "0", "-1", "10", "300", "..", "²"]) | st.text(max_size=3), max_size=5
    ),
    max_size=5,
)


@quick
@given(LINES, st.sampled_from([" ", "\t"]))
def test_whatever_a_list_of_pairs_holds(tmp_path: Path, lines: list[list[str]], between: str) -> None:
    for name in ("anna", "ben"):
        (tmp_path / name).mkdir(exist_ok=True)
        for number in (1, 2):
            (tmp_path / name / f"{name}_000{number}.jpg").touch()
    text = "\n".join(between.join(words) for words in lines)
    (tmp_path / "pairs.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    with nothing_but_ours():
        pack = read_pairs(tmp_path)
        assert len(pack.images) == 2 * len(pack.same) > 0
    with nothing_but_ours():
        assert all(isinstance(entry, str) for entry in read_exclusions(tmp_path / "pairs.txt"))


@quick
@given(
    st.lists(
        st.from_regex(r"(-1|[0-9]{1,5})?_?c?[0-9]{0,3}(s1_)?[a-z]{0,2}\.(jpg|png|db)", fullmatch=True)
        | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8).map(
            "{}.jpg".format
        ),
        max_size=3,
    )
)
def test_whatever_files_of_people_are_called(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    (root / "query").mkdir()
    for name in names:
        (root / "query" / name).touch()
    with nothing_but_ours():
        for image in read_folder(root, "query", MARKET):
            assert image.identity > 0
            assert 0 <= image.camera < 6


@quick
@given(
    st.lists(
        st.from_regex(r"[0-9]{0,2}/?[0-9]{1,3}_[0-9]{1,2}_[0-9²]{1,2}_[a-z]{1,2}(\.jpg)? ?[0-9²]{0,2}", fullmatch=True)
        | st.text(max_size=12),
        max_size=4,
    ).map("\n".join)
    | st.binary()
)
def test_whatever_a_list_of_msmt17_holds(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "list_train.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with nothing_but_ours():
        assert all(image.path.startswith("train/") and 0 <= image.camera < 15 for image in read_list(file, "train"))


@quick
@given(st.text(max_size=20) | st.sampled_from(["(?P<identity>a{99999999999999})", "(?P<identity>", "(?P<identity>.)"]))
def test_whatever_a_pattern_is(pattern: str) -> None:
    with nothing_but_ours():
        assert len(label_reader(pattern, ReID.name_patterns)("anna/0001_c1s1.jpg")) == 2


@quick
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_a_configuration_holds(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with nothing_but_ours():
        assert isinstance(read_config(file), dict)
    with nothing_but_ours():
        read_command_line(["--config", str(file)])
    with nothing_but_ours():
        read_command_line(["--task", str(file), "--data", "CIFAR10", "--attention", "se"])


@quick
@given(data=st.data())
def test_however_an_image_is_damaged(data: st.DataObject, faces: Path) -> None:
    file = min((faces / "faces" / "train").rglob("*.*g"))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with nothing_but_ours():
        pixels = decode_wholly(bytes(content[: data.draw(st.none() | st.integers(0, len(content)))]))
        assert pixels.ndim == 3


# --- Labels -----------------------------------------------------------------------------------------------------------


@quick
@given(st.sampled_from([CITYSCAPES, CAMVID, own_labels(list("abc"), [7, 255], "own")]), arrays.arrays(np.uint8, (3, 4)))
def test_labels_are_translated_or_refused_and_come_back(label_map: LabelMap, ids: np.ndarray) -> None:
    known = set(label_map.known)
    try:
        train = label_map.to_train(ids, "x.png")
    except InputError:
        assert not set(ids.ravel().tolist()) <= known
        return
    assert set(ids.ravel().tolist()) <= known
    scored = train != IGNORED
    assert (train[scored] < len(label_map.classes)).all()
    assert (label_map.to_ids(train[scored]) == ids[scored]).all()
    assert not set(ids[~scored].tolist()) & set(label_map.ids.tolist())


@quick
@given(st.lists(st.integers(0, 30).map(str) | st.text(max_size=3), min_size=1, max_size=8))
def test_names_are_numbered_without_gaps_whatever_their_order(names: list[str]) -> None:
    numbers = numbering(names)
    assert set(numbers) == set(names)
    assert sorted(set(numbers.values())) == list(range(len(set(numbers.values()))))
    assert numbering(reversed(names)) == numbers
    if len(set(numbers.values())) < len(set(names)):
        assert all(int(a) == int(b) for a in names for b in names if numbers[a] == numbers[b])


# --- Samplers ---------------------------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 9), st.integers(1, 3))
def test_shuffling_draws_each_image_at_most_once(count: int, batch_size: int, epoch: int, processes: int) -> None:
    samplers = []
    with nothing_but_ours():
        for rank in range(processes):
            samplers.append(Shuffled(count, batch_size=batch_size, rank=rank, world_size=processes))
    if len(samplers) < processes:
        assert batch_size % processes or count < batch_size
        return
    for sampler in samplers:
        sampler.set_epoch(epoch)
    drawn = Counter(draw.index for sampler in samplers for draw in sampler)
    assert set(drawn.values()) == {1}
    assert len(drawn) == count // batch_size * batch_size
    assert set(drawn) <= set(range(count))


@quick
@given(st.integers(1, 40), st.integers(1, 4))
def test_evaluation_leaves_no_image_out(count: int, processes: int) -> None:
    shares = [[draw.index for draw in InOrder(count, rank=rank, world_size=processes)] for rank in range(processes)]
    assert {index for share in shares for index in share} == set(range(count))
    assert len({len(share) for share in shares}) == 1


@quick
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=60),
    st.integers(1, 24),
    st.integers(1, 5),
    st.sampled_from(["identities", "images"]),
    st.integers(1, 2),
)
def test_batches_of_identities_are_whole_or_refused(
    identities: list[int], batch_size: int, images: int, kind: str, processes: int
) -> None:
    with nothing_but_ours():
        samplers = [
            IdentityBatches(
                identities,
                batch_size=batch_size,
                images=images,
                epoch_over=kind,
                rank=rank,
                world_size=processes,  # type: ignore[arg-type]
            )
            for rank in range(processes)
        ]
        for sampler in samplers:
            draws = [identities[draw.index] for draw in sampler]
            assert len(draws) == len(sampler) == sampler.steps() * batch_size // processes
            for start in range(0, len(draws), sampler.per_process):
                who = Counter(draws[start : start + sampler.per_process])
                assert set(who.values()) == {images}


# --- Metrics ----------------------------------------------------------------------------------------------------------


@quick
@given(st.data(), st.integers(1, 5), st.integers(1, 40))
def test_a_confusion_is_the_sum_of_its_parts_and_scores_lie_in_range(
    data: st.DataObject, classes: int, pixels: int
) -> None:
    numbers = st.integers(0, classes - 1)
    label = torch.tensor(data.draw(st.lists(numbers | st.just(255), min_size=pixels, max_size=pixels)))
    predicted = torch.tensor(data.draw(st.lists(numbers, min_size=pixels, max_size=pixels)))
    cut = data.draw(st.integers(0, pixels))
    whole = confusion_matrix(predicted, label, classes)
    parts = confusion_matrix(predicted[:cut], label[:cut], classes) + confusion_matrix(
        predicted[cut:], label[cut:], classes
    )
    assert torch.equal(whole, parts)
    assert int(whole.sum()) == int((label != 255).sum())
    with nothing_but_ours():  # if no pixel is labelled
        scores = score_confusion(whole)
        for values in (scores.iou, scores.accuracy):
            assert ((values >= 0) & (values <= 100) | values.isnan()).all()
        perfect = score_confusion(confusion_matrix(label.clamp(max=classes - 1), label, classes)).iou
        assert ((perfect == 100) | perfect.isnan()).all()


@pytest.mark.filterwarnings("ignore:Fold .* has pairs of one kind only")
@quick
@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), min_size=4, max_size=40), st.integers(2, 5))
def test_verification_lies_in_range_and_sees_only_the_order(pairs: list[tuple[float, bool]], folds: int) -> None:
    distances, same = np.array([distance for distance, _ in pairs]), np.array([answer for _, answer in pairs])
    with nothing_but_ours():
        found = verification(distances, same, folds=folds)
        for value in (found.accuracy, found.auc, found.eer, *found.tar.values()):
            assert 0 <= value <= 100
        perfect = verification(np.where(same, 0.5, 3.0), same, folds=folds)
        assert perfect.auc == 100
        assert perfect.eer == 0
