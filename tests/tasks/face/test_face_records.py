"""RecordIO without MXNet: written records are read back, and errors name the place of any damage."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relattn.errors import InputError, MissingFileError
from relattn.synthetic.faces.records import HEADER, MAGIC, framed, write_records
from relattn.tasks.face.records import Records

IMAGES = [(label, bytes([label, number]) * (5 + number)) for label in (0, 1, 4) for number in range(3)]


@pytest.mark.parametrize("identities", [True, False])
def test_what_is_written_is_read(identities: bool, tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES, identities=identities)
    for given_path in (path, tmp_path / "train"):
        records = Records(given_path)
        assert len(records) == 9
        assert records.identities == ["0", "1", "4"]
        assert records.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert [records.read(index) for index in range(9)] == [image for _, image in IMAGES]


@pytest.mark.parametrize(
    "image",
    [MAGIC, MAGIC * 3, bytes(4) + MAGIC + bytes(7), b"ab" + MAGIC, MAGIC + b"x", bytes(3) + MAGIC + MAGIC + bytes(9)],
)
def test_records_that_contain_the_magic_number_are_split_and_joined(image: bytes, tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", [(0, image), (1, b"image")])
    assert [Records(path).read(index) for index in range(2)] == [image, b"image"]
    payload = HEADER.pack(0, 0, 1, 0) + image
    aligned = any(payload[place : place + 4] == MAGIC for place in range(0, len(payload) - 3, 4))
    kinds = [struct.unpack_from("<I", framed(payload), 4)[0] >> 29]
    assert kinds == [1 if aligned else 0]


def test_the_format_is_the_published_one() -> None:
    """A record made by hand from dmlc's recordio.h: magic, kind and length, payload, padding."""
    assert framed(b"12345") == bytes.fromhex("0a23d7ce 05000000") + b"12345" + bytes(3)
    whole = bytes.fromhex("0a23d7ce 04000020") + b"1234" + bytes.fromhex("0a23d7ce 02000060") + b"56" + bytes(2)
    assert framed(b"1234" + MAGIC + b"56") == whole


def test_further_labels_replace_the_first(tmp_path: Path) -> None:
    payload = HEADER.pack(2, 99, 1, 0) + struct.pack("<2f", 7, 0.5) + b"image"
    (tmp_path / "a.rec").write_bytes(framed(payload))
    (tmp_path / "a.idx").write_text("1\t0\n")
    records = Records(tmp_path / "a")
    assert records.identities == ["7"]
    assert records.read(0) == b"image"


def test_the_order_is_that_of_the_keys(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES)
    lines = (tmp_path / "train.idx").read_text().splitlines()
    (tmp_path / "train.idx").write_text("\n".join(reversed(lines)))
    assert Records(path).read(0) == IMAGES[0][1]


def test_ranges_that_do_not_cover_the_images_are_not_relied_on(tmp_path: Path) -> None:
    write_records(tmp_path / "train", IMAGES)
    lines = (tmp_path / "train.idx").read_text().splitlines()
    (tmp_path / "train.idx").write_text("\n".join(lines[:-1]))  # the last identity's record
    assert Records(tmp_path / "train").labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("first", [2**24 - 5, 2**24 - 4, 2**25 - 3, 2**25 + 2])
def test_keys_that_headers_round_are_told_by_the_index_and_the_records(first: int, tmp_path: Path) -> None:
    """A set of more than 2^24 images, of which only the last exist, with their original keys."""
    counts = {0: 3, 1: 1, 4: 4, 5: 2, 9: 1}
    images = [(label, b"image %d %d" % (label, number)) for label, count in counts.items() for number in range(count)]
    start, ranges = first, []
    for count in counts.values():
        ranges.append((start, start + count))
        start += count
    header = HEADER.pack(2, 0, 0, 0) + struct.pack("<2f", start, start + len(ranges))
    payloads = {0: header}
    payloads |= {first + place: HEADER.pack(0, label, 0, 0) + image for place, (label, image) in enumerate(images)}
    payloads |= {start + n: HEADER.pack(2, 0, 0, 0) + struct.pack("<2f", *r) for n, r in enumerate(ranges)}
    content, lines = b"", []
    for key, payload in payloads.items():
        lines.append(f"{key}\t{len(content)}\n")
        content += framed(payload)
    (tmp_path / "a.rec").write_bytes(content)
    (tmp_path / "a.idx").write_text("".join(lines))
    records = Records(tmp_path / "a")
    assert records.identities == ["0", "1", "4", "5", "9"]
    assert [(int(records.identities[label]), records.read(i)) for i, label in enumerate(records.labels)] == images


def test_it_is_read_after_a_fork_and_after_pickling(tmp_path: Path) -> None:
    records = Records(write_records(tmp_path / "train", IMAGES))
    again = pickle.loads(pickle.dumps(records))
    assert again.read(4) == IMAGES[4][1]
    child = os.fork()
    if child == 0:
        os._exit(0 if all(records.read(index) == image for index, (_, image) in enumerate(IMAGES)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def damage(folder: Path, place: int, content: bytes) -> None:
    with (folder / "train.rec").open("r+b") as file:
        file.seek(place)
        file.write(content)


def test_a_file_that_is_cut_off_is_named_at_once(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-6])
    with pytest.raises(
        InputError, match=rf"train\.rec, offset \d+ \(key 12\) reaches beyond .* {len(whole) - 6:,} bytes"
    ):
        Records(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"train\.idx, line \d+: key \d+, offset \d+: an offset outside the \.rec"):
        Records(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"train\.rec is empty"):
        Records(path)


def test_damage_inside_is_named_when_it_is_read(tmp_path: Path) -> None:
    records = Records(path := write_records(tmp_path / "train", IMAGES))
    place = int(records.offsets[4])
    damage(tmp_path, place, b"nope")
    with pytest.raises(InputError, match=rf"train\.rec, offset {place}: 0x65706f6e instead of 0xced7230a"):
        Records(path).read(4)
    damage(tmp_path, place, MAGIC + struct.pack("<I", 3 << 29 | 8))
    with pytest.raises(InputError, match=rf"offset {place}: a record's part of kind 3 is out of place"):
        Records(path).read(4)
    damage(tmp_path, place, MAGIC + struct.pack("<I", 8))
    with pytest.raises(InputError, match=rf"offset {place} \(key 5\) has 8 bytes, too few for a header"):
        Records(path).read(4)
    damage(tmp_path, place, framed(HEADER.pack(900, 0, 0, 0))[:12])
    with pytest.raises(InputError, match=r"claims 900 labels in 24 bytes"):
        Records(path).read(4)
    damage(tmp_path, place, framed(HEADER.pack(0, 4, 5, 0) + IMAGES[4][1]))
    with pytest.raises(InputError, match=r"has label 4, and its identity's record says 1"):
        Records(path).read(4)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", r"train\.idx is empty"),
        ("0\t0\n1\n", r"train\.idx is not an index"),
        ("0\tzero\n", r"train\.idx is not an index"),
        ("0\t99999999999999999999999\n", r"train\.idx is not an index"),
        ("0\t0\n1\t4000\n", r"line 2: key 1, offset 4000: an offset outside"),
        ("0\t0\n1\t-4\n", r"line 2: key 1, offset -4: an offset outside"),
        ("0\t0\n1\t2\n", r"line 2: key 1, offset 2: an offset that is no multiple of 4"),
        ("-1\t0\n", r"line 1: key -1, offset 0: a key below 0"),
        ("0\t0\n1\t40\n1\t40\n", r"train\.idx lists key 1 twice"),
        ("0\t0\n1\t44\n", r"offset 44: 0x[0-9a-f]+ instead of 0xced7230a"),
        ("0\t0\n1\t40\n2\t84\n", r"images end at key 10, and the index has keys 0 to 2: \.rec and \.idx differ"),
    ],
)
def test_an_index_that_does_not_belong_is_refused(index: str, message: str, tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES)
    (tmp_path / "train.idx").write_text(index)
    with pytest.raises(InputError, match=message):
        Records(path)


@pytest.mark.parametrize("label", [0.5, -1.0, float("nan"), float("inf")])
def test_labels_are_whole_numbers(label: float, tmp_path: Path) -> None:
    (tmp_path / "a.rec").write_bytes(framed(HEADER.pack(0, label, 1, 0) + b"image"))
    (tmp_path / "a.idx").write_text("1\t0\n")
    with pytest.raises(InputError, match=r"a\.rec, offset 0 \(key 1\) has label .*expected a whole number"):
        Records(tmp_path / "a")


def test_property_is_compared(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES)
    (tmp_path / "property").write_text("2,112,112")
    with pytest.raises(InputError, match=r"property states 2 identities, and .* has 3"):
        Records(path)
    (tmp_path / "property").write_text("many")
    with pytest.raises(InputError, match=r"property is 'many', expected identities,height,width"):
        Records(path)
    (tmp_path / "property").unlink()
    assert len(Records(path)) == 9


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"train\.rec: no such file"):
        Records(tmp_path / "train")
    write_records(tmp_path / "train", IMAGES)
    (tmp_path / "train.idx").unlink()
    with pytest.raises(MissingFileError, match=r"train\.idx: no such file; a \.rec file is read with"):
        Records(tmp_path / "train")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.slow
def test_any_damage_gives_nothing_but_input_errors(data: st.DataObject, tmp_path: Path) -> None:
    path = write_records(tmp_path / "train", IMAGES)
    target = data.draw(st.sampled_from(["train.rec", "train.idx", "property"]))
    content = bytearray((tmp_path / target).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if data.draw(st.booleans()) and content:
            content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=4))
        else:
            del content[place:]
    (tmp_path / target).write_bytes(bytes(content))
    try:
        records = Records(path)
    except InputError:
        return
    assert len(records) == len(records.labels) > 0
    messages: list[str] = []
    assert records.labels.max() == len(records.identities) - 1
    for index in range(len(records)):
        try:
            assert isinstance(records.read(index), bytes)
        except InputError as error:
            messages.append(str(error))
    assert all("train.rec" in message for message in messages)


def test_the_writer_wants_sorted_labels(tmp_path: Path) -> None:
    for images in ([], [(1, b"a"), (0, b"b")]):
        with pytest.raises(InputError, match="sorted by label"):
            write_records(tmp_path / "train", images)


def test_labels_of_many_identities_are_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 500, 2000)).tolist()
    records = Records(write_records(tmp_path / "train", [(label, b"%d" % label) for label in labels]))
    found = [int(records.identities[label]) for label in records.labels]
    assert found == labels
    assert [int(records.read(index)) for index in range(2000)] == labels
