"""A corpus of damaged and hostile files, each with its reader: the test reads them in a process that may die.

`write_corpus` creates the files; nothing is downloaded, and nothing here runs code by itself. Every file must be
refused with one clear error, or, if it is marked `harmless`, be read as data.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
import yaml
from PIL import Image
from scipy.io import savemat
from untrained import save

HUGE = 2**40


class Hostile(NamedTuple):
    """A file of the corpus."""

    name: str
    reader: str
    """The name of the function in `READERS` that is called with its path."""
    harmless: bool = False
    """Whether it may be read because it only looks dangerous."""


class Runs:
    """Creates a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


# --- Pickles ----------------------------------------------------------------------------------------------------------


def short(text: bytes) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text


def named(module: bytes, name: bytes) -> bytes:
    return short(module) + short(name) + b"\x93"


RECONSTRUCT = named(b"numpy._core.multiarray", b"_reconstruct") + named(b"numpy", b"ndarray")
EMPTY = RECONSTRUCT + b"K\x00\x85C\x01b\x87R"


def dtype(code: bytes, state: bytes | None = None) -> bytes:
    plain = b"(K\x03" + short(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    return named(b"numpy", b"dtype") + short(code) + b"\x89\x88\x87R" + (plain if state is None else state) + b"b"


def filled(shape: bytes, kind: bytes, content: bytes, order: bytes = b"\x89") -> bytes:
    return EMPTY + b"(K\x01" + shape + kind + order + content + b"tb"


def raw(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def pickles() -> Iterator[tuple[str, bytes]]:
    start, stop = b"\x80\x04", b"."
    address = struct.pack("<Q", 0x4141414141414141)
    eight = b"K\x08\x85"
    flags = b"(K\x03" + short(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"
    fields = b"(K\x03" + short(b"|") + b"N" + short(b"a") + b"\x85" + b"}" + short(b"a") + dtype(b"O") + b"K\x00\x86s"
    fields += b"K\x08K\x08K\x1bt"
    parts = {
        "objects over bytes": filled(b"K\x01\x85", dtype(b"O"), raw(address)),
        "objects in a list": filled(b"K\x01\x85", dtype(b"O"), b"]K\x01a"),
        "objects without bytes": filled(b"K\x01\x85", dtype(b"O"), b"N"),
        "flags of objects on floats": filled(b"K\x01\x85", dtype(b"f8", flags), raw(address)),
        "fields of objects": filled(b"K\x01\x85", dtype(b"V8", fields), raw(address)),
        "a structure": filled(b"K\x01\x85", dtype(b"V8"), raw(address)),
        "unicode of huge size": filled(b"K\x01\x85", dtype(b"U999999999"), raw(address)),
        "dates": filled(b"K\x01\x85", dtype(b"M8"), raw(address)),
        "fewer bytes than the shape": filled(b"M\xff\xff\x85", dtype(b"f8"), raw(address)),
        "more bytes than the shape": filled(b"K\x01\x85", dtype(b"u1"), raw(address)),
        "a shape below 0": filled(b"J\xff\xff\xff\xff\x85", dtype(b"u1"), raw(address)),
        "a shape that overflows": filled(b"\x8a\x08" + struct.pack("<q", 2**62) + b"K\x04\x86", dtype(b"u1"), raw(b"")),
        "a shape of many axes": filled(b"(" + b"K\x01" * 99 + b"t", dtype(b"u1"), raw(b"a")),
        "a shape of text": filled(short(b"ab") + b"\x85", dtype(b"u1"), raw(b"a")),
        "text in place of bytes": filled(eight, dtype(b"u1"), b"X\x02\x00\x00\x00\xc4\x80"),
        "filled twice": filled(eight, dtype(b"u1"), raw(address))
        + b"(K\x01"
        + eight
        + dtype(b"u1")
        + b"\x89"
        + raw(address)
        + b"tb",
        "a type twice": dtype(b"f8") + flags + b"b",
        "a version that there is not": EMPTY + b"(K\x09" + eight + dtype(b"u1") + b"\x89" + raw(address) + b"tb",
        "a state of one": EMPTY + b"K\x01\x85b",
        "an array of an array's class": named(b"numpy", b"ndarray") + b"\x8a\x08" + struct.pack("<q", HUGE) + b"\x85R",
        "a subclass to reconstruct": named(b"numpy._core.multiarray", b"_reconstruct")
        + dtype(b"u1")
        + b"K\x00\x85C\x01b\x87R",
        "reconstructed of a huge shape": RECONSTRUCT + b"\x8a\x08" + struct.pack("<q", HUGE) + b"\x85C\x01b\x87R",
        "a scalar of an object": named(b"numpy._core.multiarray", b"scalar") + dtype(b"O") + raw(address) + b"\x86R",
        "a scalar of flags": named(b"numpy._core.multiarray", b"scalar")
        + dtype(b"f8", flags)
        + raw(address)
        + b"\x86R",
        "a buffer of objects": named(b"numpy._core.numeric", b"_frombuffer")
        + b"("
        + raw(address)
        + dtype(b"O")
        + b"K\x01\x85"
        + short(b"C")
        + b"tR",
        "a bytearray of a number": named(b"builtins", b"bytearray") + b"\x8a\x08" + struct.pack("<q", HUGE) + b"\x85R",
        "bytes of a number": named(b"builtins", b"bytes") + b"\x8a\x08" + struct.pack("<q", HUGE) + b"\x85R",
        "a bytearray longer than the file": b"\x96" + struct.pack("<Q", HUGE) + b"a",
        "bytes longer than the file": b"\x8e" + struct.pack("<Q", HUGE) + b"a",
        "text longer than the file": b"\x8d" + struct.pack("<Q", HUGE) + b"a",
        "a number longer than the file": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a",
        "a frame longer than the file": b"\x95" + struct.pack("<Q", HUGE) + b"N",
        "a memo of huge index": b"Nr" + struct.pack("<I", 2**32 - 1) + b"0K\x01",
        "a memo that there is not": b"j" + struct.pack("<I", 2**31),
        "a codec that unpacks": named(b"_codecs", b"encode")
        + short(zlib.compress(b"a" * 99).decode("latin1").encode()[:200])
        + short(b"zlib_codec")
        + b"\x86R",
        "a function's defaults": named(b"_codecs", b"encode") + b"N}" + short(b"__defaults__") + b"Ns\x86b",
        "an instance of a class": named(b"builtins", b"bytearray") + b")\x81",
        "an extension": b"\x82\x01",
        "a persistent object": b"K\x01Q",
        "out of band": b"\x97",
        "deep lists": b"]" * 100_000 + b"a" * 99_999,
        "deep tuples": b")" + b"\x85" * 100_000,
        "a stack that is empty": b"R",
        "an unhashable key": b"}]Ns",
        "os.system": named(b"os", b"system") + short(b"mkdir pwned") + b"\x85R",
        "builtins.eval": named(b"builtins", b"eval") + short(b"1") + b"\x85R",
        "a dotted name": named(b"numpy", b"ndarray.tofile") + short(b"pwned") + b"\x85R",
        "numpy.load": named(b"numpy", b"load") + short(b"x") + b"\x85R",
        "numpy's own codes": named(b"numpy._core.multiarray", b"fromfile") + short(b"x") + b"\x85R",
    }
    for name, part in parts.items():
        yield name, start + part + stop
    yield "an instance of old", b"(ios\nsystem\n(S'mkdir pwned'\ntR."
    yield "reduces to a folder", pickle.dumps(Runs())
    yield "cut off", pickle.dumps(([b"a"] * 9, [True]))[:-9]
    yield "no pickle", b"\x00" * 64
    yield "empty", b""


# --- Arrays -----------------------------------------------------------------------------------------------------------


def npy(header: str | bytes, content: bytes = b"", version: tuple[int, int] = (1, 0), size: int | None = None) -> bytes:
    text = header.encode("latin1") if isinstance(header, str) else header
    length = len(text) if size is None else size
    return b"\x93NUMPY" + bytes(version) + length.to_bytes(2 if version == (1, 0) else 4, "little") + text + content


def header(descr: str = "'<f4'", order: str = "False", shape: str = "(2, 2)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def arrays() -> Iterator[tuple[str, bytes]]:
    four = np.zeros(4, "<f4").tobytes()
    yield "a shape beyond the file", npy(header(shape=f"({HUGE}, 4)"), four)
    yield "a shape that overflows", npy(header(shape="(9223372036854775807, 9)"), four)
    yield "a shape below 0", npy(header(shape="(-1, 4)"), four)
    yield "objects", npy(header(descr="'|O'"), pickle.dumps(Runs()))
    yield "a structure with objects", npy(header(descr="[('a', '|O')]"), pickle.dumps(Runs()))
    yield "text", npy(header(descr="'<U4'"), four)
    yield "a type of no size", npy(header(descr="'<f0'"), four)
    yield "a type that there is not", npy(header(descr="'<f3'"), four)
    yield "a header that computes", npy(header(shape="(2**40, __import__('os').mkdir('pwned'))"), four)
    yield "a header of deep nesting", npy("(" * 9000, four)
    yield "a header with more keys", npy(header().replace("}", "'x': 1}"), four)
    yield "a header of no dictionary", npy("[1, 2, 3]\n", four)
    yield "a header longer than the file", npy(header(), version=(2, 0), size=2**32 - 1)
    yield "a version that there is not", npy(header(), four, version=(9, 9))
    yield "no magic", b"NUMPY" + four
    yield "a pickle", pickle.dumps(Runs())
    yield "cut off", npy(header(), four)[:-3]
    yield "empty", b""


def packed(name: str, content: bytes, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def archives() -> Iterator[tuple[str, bytes]]:
    good = npy(header(), np.zeros(4, "<f4").tobytes())
    bomb = packed("features.npy", npy(header(shape=f"({2**26}, 4)")) + b"\0" * 2**20)
    yield "a bomb by its header", bomb
    lying = bytearray(packed("features.npy", good))
    place = lying.rfind(b"PK\x01\x02")
    lying[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    yield "a size that is not so", bytes(lying)
    broken = bytearray(packed("features.npy", good, zipfile.ZIP_STORED))
    broken[60] ^= 255
    yield "a wrong checksum", bytes(broken)
    method = bytearray(packed("features.npy", good))
    method[8:10] = struct.pack("<H", 99)
    method[method.rfind(b"PK\x01\x02") + 10 : method.rfind(b"PK\x01\x02") + 12] = struct.pack("<H", 99)
    yield "a method that there is not", bytes(method)
    locked = bytearray(packed("features.npy", good))
    locked[6] |= 1
    locked[locked.rfind(b"PK\x01\x02") + 8] |= 1
    yield "encrypted", bytes(locked)
    squeezed = bytearray(packed("features.npy", good, zipfile.ZIP_LZMA))
    squeezed[60:90] = b"\xff" * 30
    yield "damaged lzma", bytes(squeezed)
    yield "objects", packed("features.npy", npy(header(descr="'|O'"), pickle.dumps(Runs())))
    yield "cut off", packed("features.npy", good)[:-30]
    yield "no archive", b"PK\x03\x04" + b"\xff" * 60


# --- Images -----------------------------------------------------------------------------------------------------------


def encoded(kind: str, size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def images() -> Iterator[tuple[str, bytes]]:
    """Images that claim more pixels than they contain, or whose content is damaged."""
    begin, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    for side in (60_000, 2**31 - 1):
        size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        yield f"png of {side}", begin + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + end
    text = begin + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    text += chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**27)) + chunk(b"IDAT", b"no data") + end
    yield "png with a bomb of text", text
    jpeg = bytearray(encoded("JPEG"))
    place = jpeg.find(b"\xff\xc0")
    jpeg[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    yield "jpeg of 65535", bytes(jpeg)
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 2**30, 2**30)
    yield "bmp of 2**30", bytes(bmp)
    gif = bytearray(encoded("GIF"))
    gif[6:10] = b"\xff" * 4
    yield "gif cut inside", bytes(gif[:-5])
    tiff = bytearray(encoded("TIFF"))
    for tag in (256, 257):
        place = tiff.find(struct.pack("<HH", tag, 4))
        place = place if place >= 0 else tiff.find(struct.pack("<HH", tag, 3))
        tiff[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2**30)
    yield "tiff of 2**30", bytes(tiff)
    yield "tiff of loops", b"II*\0\x08\0\0\0" + b"\xff\xff" + b"\0" * 40
    webp = bytearray(encoded("WEBP"))
    webp[4:8] = struct.pack("<I", 2**32 - 2)
    yield "webp longer than the file", bytes(webp)
    yield "pnm of huge size", b"P6\n99999999 99999999\n255\n" + b"a" * 99
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(pwned) (w) file closefile showpage\n"
    yield "empty", b""
    yield "zeros", b"\0" * 999


# --- Checkpoints ------------------------------------------------------------------------------------------------------


def checkpoints(folder: Path) -> Iterator[tuple[str, bytes]]:
    good = save(folder / "good.ckpt", "classification").read_bytes()
    content = torch.load(io.BytesIO(good), weights_only=True)

    def changed(**entries: Any) -> bytes:
        file = io.BytesIO()
        torch.save({**content, **entries}, file)
        return file.getvalue()

    def configured(change: Callable[[dict[str, Any]], None]) -> bytes:
        config = yaml.safe_load(content["config"])
        change(config)
        return changed(config=yaml.safe_dump(config))

    state = content["state_dict"]
    name = next(iter(state))
    yield "code", changed(specification=Runs())
    yield "a pickle", pickle.dumps(Runs())
    yield "cut off", good[: len(good) // 2]
    yield "a member damaged", good[:3000] + b"\xff" * 64 + good[3064:]
    compressed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        new.writestr("bomb", b"\0" * 2**27)
    yield "compressed", compressed.getvalue()
    yield "names that are numbers", changed(state_dict={**state, 3: torch.zeros(1)})
    yield "weights that are text", changed(state_dict={**state, name: "zeros"})
    yield "weights of another shape", changed(state_dict={**state, name: torch.zeros(1).expand(2**20, 2**20)})
    yield (
        "sparse weights",
        changed(state_dict={**state, name: torch.sparse_coo_tensor([[0]], [1.0], (2**40,), check_invariants=True)}),
    )
    yield "weights of no memory", changed(state_dict={**state, name: torch.empty(2**40, device="meta")})
    yield "a specification of a list", changed(specification={"preprocessing": [1], "image_size": "big"})
    yield "a specification of huge numbers", changed(specification={**content["specification"], "num_classes": 2**40})
    yield "a specification of nothing", changed(specification={})
    yield "yaml of references", changed(config=references())
    yield "yaml of depth", changed(config="model: " + "[" * 100_000)
    yield "yaml of length", changed(config="model: " + "x" * 2**21)
    yield "yaml of objects", changed(config="model: !!python/object/apply:os.mkdir [pwned]")
    yield "yaml of dates", changed(config="model: 2001-99-99")

    def set_option(option: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda config: config["model"]["init_args"].update({option: value})

    yield "another class", configured(lambda config: config["model"].update(class_path="subprocess.Popen"))
    yield "a backbone of many layers", configured(set_option("backbone", "resnet99998"))
    yield "a backbone that there is not", configured(set_option("backbone", "../../etc/passwd"))
    yield "a backbone from elsewhere", configured(set_option("backbone", "hf-hub:nobody/../../nothing"))
    yield "an option of references", configured(set_option("attention", references()))
    yield "an option that there is not", configured(set_option("nothing", 1))


def references() -> str:
    """30 lines of YAML that stand for 3**30 values."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, 30)]
    return "\n".join([*lines, "model: *a29"]) + "\n"


# --- Tables, records and MATLAB's files -------------------------------------------------------------------------------


def tables() -> Iterator[tuple[str, bytes]]:
    first = b"path,identity,camera,split\n"
    yield "bytes of zero", first + b"a\0b.jpg,1,1,query\n"
    yield "a field without end", first + b'"' + b"a" * 300_000
    yield "a field of great length", first + b"a" * 300_000 + b",1,1,query\n"
    yield "no text", b"\xff\xfe" + os.urandom(99)
    yield "a path that leads out", first + b"../../secret.jpg,1,1,query\n"
    yield "an absolute path", first + b"/etc/passwd,1,1,query\n"
    yield "columns twice", b"path,path,identity,split\n1,1,1,1\n"
    yield "many columns", b"," * 100_000 + b"\n"
    yield "no rows", first
    yield "empty", b""


def records() -> Iterator[tuple[str, bytes, bytes]]:
    def record(payload: bytes, kind: int = 0, length: int | None = None) -> bytes:
        size = len(payload) if length is None else length
        return struct.pack("<II", 0xCED7230A, kind << 29 | size) + payload + b"\0" * (-len(payload) % 4)

    image = struct.pack("<IfQQ", 0, 1.0, 1, 0) + encoded("JPEG")
    yield "a length beyond the file", record(image, length=2**29 - 1), b"1\t0\n"
    yield "a label of nothing", record(struct.pack("<IfQQ", 0, float("nan"), 1, 0)), b"1\t0\n"
    yield "a label of infinity", record(struct.pack("<IfQQ", 0, float("inf"), 1, 0)), b"1\t0\n"
    yield "a header of nothing", record(struct.pack("<IfQQ2f", 2, 0, 0, 0, float("nan"), float("nan"))), b"0\t0\n"
    yield "many labels", record(struct.pack("<IfQQ", 2**31, 1.0, 1, 0)), b"1\t0\n"
    yield "parts without end", record(image, kind=1), b"1\t0\n"
    yield "an offset below 0", record(image), b"1\t-8\n"
    yield "an offset beyond", record(image), b"1\t99999999999\n"
    yield "a key too large", record(image), b"99999999999999999999\t0\n"
    yield "an index of text", record(image), b"one\tzero\n"
    yield "an index of one column", record(image), b"1\n"
    yield "an index of references", record(image), b"1\t0\n" * 2
    yield "no magic", b"\0" * 64, b"1\t0\n"


def matlab(folder: Path) -> Iterator[tuple[str, bytes]]:
    protocol = {name: np.ones((1, 1)) for name in ("labels", "camId", "train_idx", "query_idx", "gallery_idx")}
    path = folder / "good.mat"
    names = np.array([["1_001_1_01.png"]], dtype=object)
    savemat(path, {**protocol, "filelist": names})
    good = path.read_bytes()
    for step, place in enumerate(range(128, len(good), max(1, len(good) // 12))):
        broken = bytearray(good)
        broken[place : place + 8] = b"\xff" * 8
        yield f"damaged at {step}", bytes(broken)
    savemat(path, {**protocol, "filelist": names, "labels": np.full((1, 1), np.nan)})
    yield "labels of nothing", path.read_bytes()
    savemat(path, {**protocol, "filelist": np.array([["../../x.png"]], dtype=object)})
    yield "names that lead out", path.read_bytes()
    claims = bytearray(good[:128]) + struct.pack("<II", 14, 2**31 - 8) + b"\0" * 64
    yield "a matrix of 2 GiB", bytes(claims)
    bomb = zlib.compress(struct.pack("<II", 14, 2**27) + b"\0" * 2**27)
    yield "a bomb", good[:128] + struct.pack("<II", 15, len(bomb)) + bomb
    yield "no file of MATLAB", b"MATLAB 5.0 MAT-file" + b"\xff" * 200


def hdf5(folder: Path) -> Iterator[tuple[str, bytes]]:
    path = folder / "made.h5"

    def made(fill: Callable[[h5py.File], None]) -> bytes:
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            fill(file)
        return path.read_bytes()

    def whole(file: h5py.File) -> None:
        image = file.create_dataset("image", data=np.zeros((3, 4, 8), np.uint8))
        people = file.create_dataset("people", (10, 1), h5py.ref_dtype)
        people[...] = image.ref
        pairs = file.create_dataset("labeled", (1, 1), h5py.ref_dtype)
        pairs[0, 0] = people.ref

    def huge(file: h5py.File) -> None:
        image = file.create_dataset("image", (3, 2**20, 2**20), "uint8", chunks=(3, 64, 64), compression="gzip")
        people = file.create_dataset("people", (10, 1), h5py.ref_dtype)
        people[...] = image.ref
        pairs = file.create_dataset("labeled", (1, 1), h5py.ref_dtype)
        pairs[0, 0] = people.ref

    def many(file: h5py.File) -> None:
        file.create_dataset("labeled", (1, 2**40), h5py.ref_dtype, chunks=(1, 1024))

    def elsewhere(file: h5py.File) -> None:
        file["labeled"] = h5py.ExternalLink("/etc/passwd", "x")

    def group(file: h5py.File) -> None:
        file.create_group("labeled")

    def numbers(file: h5py.File) -> None:
        file["labeled"] = np.ones((1, 4))

    def text(file: h5py.File) -> None:
        file["labeled"] = "text"

    def loop(file: h5py.File) -> None:
        file["labeled"] = h5py.SoftLink("/labeled")

    for name, fill in (
        ("a huge image", huge),
        ("many people", many),
        ("a link to another file", elsewhere),
        ("a group", group),
        ("numbers", numbers),
        ("text", text),
        ("a link to itself", loop),
        ("nothing", lambda file: None),
    ):
        yield name, made(fill)
    good = made(whole)
    for step, place in enumerate(range(0, len(good), max(1, len(good) // 24))):
        broken = bytearray(good)
        broken[place : place + 16] = b"\xff" * 16
        yield f"damaged at {step}", bytes(broken)
    yield "cut off", good[: len(good) // 2]


def embeddings() -> Iterator[tuple[str, dict[str, bytes]]]:
    features = npy(header(), np.zeros(4, "<f4").tobytes())
    good = {"features.npy": features, "manifest.csv": b"path\na.jpg\nb.jpg\n", "embedding.json": b'{"root": "/"}'}
    for name, change in (
        ("deep json", {"embedding.json": b'{"root": ' + b"[" * 100_000}),
        ("json of a list", {"embedding.json": b"[]"}),
        ("a root of a number", {"embedding.json": b'{"root": 3}'}),
        ("a root of bytes of zero", {"embedding.json": json.dumps({"root": "/a\0b"}).encode()}),
        ("a digest of a list", {"embedding.json": b'{"root": "/", "sha256": [1]}'}),
        ("a distance of a list", {"embedding.json": b'{"root": "/", "distance": ["cosine"]}'}),
        ("a path that leads out", {"manifest.csv": b"path\n../a.jpg\nb.jpg\n"}),
        ("other columns", {"manifest.csv": b"path,eval\na.jpg,1\nb.jpg,2\n"}),
        ("a field of great length", {"manifest.csv": b"path\n" + b"a" * 300_000 + b"\nb.jpg\n"}),
        ("features of whole numbers", {"features.npy": npy(header(descr="'<i4'"), bytes(16))}),
        ("features of one row", {"features.npy": npy(header(shape="(1, 4)"), bytes(16))}),
    ):
        yield name, {**good, **change}


def write_corpus(folder: Path) -> list[Hostile]:
    """Write all files, and return the reader of each."""
    found: list[Hostile] = []

    def add(kind: str, name: str, content: bytes, suffix: str, *readers: str, harmless: bool = False) -> Path:
        path = folder / f"{kind} {name.replace('/', ' ')}{suffix}"
        path.write_bytes(content)
        found.extend(Hostile(path.name, reader, harmless) for reader in readers)
        return path

    for name, content in pickles():
        add("pickle", name, content, ".bin", "pack", "cifar")
    for name, content in arrays():
        add("array", name, content, ".npy", "array")
    for name, content in archives():
        add("archive", name, content, ".npz", "array")
    for name, content in images():
        add("image", name, content, ".jpg", "image", "whole image")
    for name, content in checkpoints(folder):
        add("checkpoint", name, content, ".ckpt", "checkpoint")
    for name, content in pickles():
        if name in ("reduces to a folder", "flags of objects on floats", "a scalar of flags", "cut off", "os.system"):
            add("released", name, content, ".pth", "released")
    for name, content in tables():
        add("table", name, content, ".csv", "table", "people")
    for name, pack, index in records():
        path = add("records", name, pack, ".rec", "records")
        path.with_suffix(".idx").write_bytes(index)
    for name, content in matlab(folder):
        add("matlab", name, content, ".mat", "protocol", harmless=name.startswith("damaged"))
    for name, content in hdf5(folder):
        add("hdf5", name, content, ".h5", "cuhk03", harmless=name.startswith("damaged"))
    for name, files in embeddings():
        place = folder / f"embedding {name}"
        place.mkdir()
        for file, content in files.items():
            (place / file).write_bytes(content)
        found.append(Hostile(place.name, "embedding"))
    return found
