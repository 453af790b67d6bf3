"""Pictures of any kind, as the models see them, and what predict.py says of them."""

import csv
import io
import json
import os
import re
import struct
import sys
import zlib
from pathlib import Path

import grounds
import numpy as np
import PIL
import pytest
from conftest import python
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pictures import showing
from pictures.preparing import prepare
from pictures.reading import Unusable, decode, find_pictures, read_picture
from predict import main as predict

WHITE, GREY, BLACK = (255,) * 3, (200,) * 3, (0,) * 3


def made_up_item() -> np.ndarray:
    """An item as Fashion-MNIST would show it, uint8 (28, 28): sleeves, a neck, a pattern."""
    item = np.zeros((28, 28), dtype=np.uint8)
    item[:, 9:19] = np.linspace(120, 255, 28)[:, None]
    item[2:8, 4:24] = 180
    item[12:18, 11:15] = 230
    item[:2, 12:16] = 0
    return item


ITEM = made_up_item()
SILHOUETTE = 255 * (ITEM > 0)


def cut_out(item: np.ndarray = ITEM, size: int = 280) -> Image.Image:
    """The thing itself in RGBA: dark where Fashion-MNIST is bright, transparent where it is 0."""
    image = Image.fromarray(255 - item).convert("RGBA")
    image.putalpha(Image.fromarray(np.uint8(255) * (item > 0)))
    return image.resize((size, size), Image.Resampling.NEAREST)


def laid_on(colour, frame=(280, 280), at=(0, 0), size=280) -> Image.Image:
    picture = Image.new("RGBA", frame, (*colour, 255))
    picture.alpha_composite(cut_out(size=size), at)
    return picture.convert("RGB")


def as_file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def seen(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    return prepare(decode(as_file(image, kind, **options))).pixels


def difference(pixels: np.ndarray, item: np.ndarray = ITEM) -> float:
    assert (pixels.shape, pixels.dtype) == ((28, 28), np.uint8)
    return np.abs(pixels.astype(float) - item).mean()


def from_numbers(dtype, scale, offset=0) -> Image.Image:
    levels = np.asarray(laid_on(WHITE).convert("L"), dtype=np.float64)
    return Image.fromarray((levels * scale + offset).astype(dtype))


def in_lab() -> Image.Image:
    neutral = Image.new("L", (280, 280), 128)
    return Image.merge("LAB", [laid_on(WHITE).convert("L"), neutral, neutral])


def with_transparent_colour() -> Image.Image:
    """Mode P, one of whose colours is declared transparent: the GIF way."""
    pixels = np.where(ITEM > 0, 255 - ITEM, 254).astype(np.uint8)
    image = Image.fromarray(pixels).resize((280, 280), Image.Resampling.NEAREST).convert("P")
    image.info["transparency"] = 254
    return image


MODES = [
    *((laid_on(WHITE).convert(mode), kind) for mode, kind in [
        ("L", "PNG"), ("RGB", "BMP"), ("RGBA", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"),
        *([("YCbCr", "TIFF")] if PIL.__version__ >= "13" else []),  # it could not read its own
    ]),
    (in_lab(), "TIFF"), (cut_out(), "PNG"), (cut_out(), "WEBP"), (cut_out().convert("LA"), "PNG"),
    (with_transparent_colour(), "GIF"), (with_transparent_colour(), "PNG"),
    (from_numbers(np.uint16, 257), "PNG"), (from_numbers(np.uint16, 3, 30_000), "PNG"),
    (from_numbers(">u2", 200), "TIFF"), (from_numbers(np.int32, 1_000, -70_000), "TIFF"),
    (from_numbers(np.float32, 1e-3, -5), "TIFF"), (from_numbers(np.float32, 1e30), "TIFF"),
]  # fmt: skip


@pytest.mark.parametrize(("image", "kind"), MODES, ids=lambda value: getattr(value, "mode", value))
def test_any_mode_shows_the_same_item(image, kind):
    # A palette has 256 colours, CMYK and YCbCr lose a level or two.
    assert difference(seen(image, kind, **({"lossless": True} if kind == "WEBP" else {}))) < 2


def in_one_colour(level: int, ground: Image.Image) -> Image.Image:
    ground.paste((level,) * 3, (0, 0, 280, 280), mask=cut_out().getchannel("A"))
    return ground


@pytest.mark.parametrize(("image", "most"), [
    (Image.fromarray(ITEM == 0).resize((280, 280)), 0),  # two levels
    (in_one_colour(255, Image.new("RGB", (280, 280), GREY)), 1),
    *((in_one_colour(level, cut_out()), 0) for level in (0, 20, 128, 240, 255)),
])  # fmt: skip
def test_an_item_of_one_colour_shows_its_silhouette(image, most):
    assert difference(seen(image), SILHOUETTE) <= most


@pytest.mark.parametrize("pixels", [ITEM, 255 - ITEM], ids=["light on black", "dark on white"])
@pytest.mark.parametrize(("size", "edges"), [(28, "NEAREST"), (280, "NEAREST"), (280, "BICUBIC")])
def test_an_image_of_the_data_set_comes_back(pixels, size, edges):
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling[edges])
    assert difference(seen(image)) < (1 if edges == "NEAREST" else 8)


@pytest.mark.parametrize("colour", [WHITE, GREY, (150, 190, 250), (90, 40, 140)])
@pytest.mark.parametrize("place", [
    {}, {"frame": (700, 400), "at": (400, 30)}, {"frame": (600, 500), "at": (0, 220)},
    {"frame": (900, 900), "at": (500, 300), "size": 112},
], ids=["filling", "right", "bottom left", "small"])  # fmt: skip
def test_the_item_is_found_on_any_ground(colour, place):
    assert difference(seen(laid_on(colour, **place))) < 8
    assert difference(seen(laid_on(colour, **place), "JPEG", quality=80)) < 12


def on_ground(name: str) -> Image.Image:
    ground = grounds.ground(name, np.random.default_rng(3))
    return Image.fromarray((255 * ground).astype(np.uint8)).convert("RGBA")


@pytest.mark.parametrize("name", grounds.GROUNDS[2:])
def test_the_item_is_found_on_a_photos_ground(name):
    picture = on_ground(name)
    picture.alpha_composite(cut_out(), (100, 90))
    found = prepare(decode(as_file(picture.convert("RGB"), "JPEG", quality=85)))
    assert found.distinct
    assert difference(found.pixels) < 20


@pytest.mark.parametrize("ground", [(255, 255, 255, 255), (0, 0, 0, 0)], ids=["white", "none"])
def test_an_outline_is_filled(ground):
    picture = Image.new("RGBA", (300, 300), ground)
    ImageDraw.Draw(picture).rectangle((60, 40, 240, 260), outline="black", width=5)
    pixels = seen(picture)
    assert 0 < pixels[14, 14] < pixels[14, 3]
    filled = Image.new("RGBA", (300, 300), ground)
    ImageDraw.Draw(filled).rectangle((60, 40, 240, 260), fill="black")
    assert seen(filled)[14, 14] == 255


def test_dust_is_no_part_of_the_item():
    picture = laid_on(WHITE, (500, 500), (110, 110))
    picture.paste(BLACK, (5, 5, 9, 9))
    picture.paste(BLACK, (480, 300, 484, 303))
    assert difference(seen(picture)) < 8


def test_a_photo_lies_as_its_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = laid_on(WHITE).transpose(Image.Transpose.ROTATE_90)
    assert difference(seen(turned, "JPEG", exif=exif, quality=95)) < 4


PNG = as_file(laid_on(WHITE, (60, 60), size=56))
SMALL = {
    kind: as_file(cut_out(size=28).convert(mode), kind)
    for kind, mode in [("PNG", "RGBA"), ("GIF", "P"), ("TIFF", "RGBA"), ("JPEG", "L"),
                       ("WEBP", "RGB"), ("BMP", "RGB"), ("ICO", "RGBA"), ("TGA", "RGBA"),
                       ("PPM", "RGB"), ("DDS", "RGBA"), ("SGI", "RGB"), ("PCX", "P")]
}  # fmt: skip


def damaged_tiff() -> bytes:
    data = bytearray(as_file(laid_on(WHITE), "TIFF", compression="tiff_adobe_deflate"))
    data[8:80] = bytes(72)  # libtiff prints: ZIPDecode: Decoding error at scanline 0
    return bytes(data)


def bomb(width: int, height: int) -> bytes:
    """A PNG file that ends where its pixels would begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + checksum + b"\0\0\0\x64IDAT"


@pytest.mark.parametrize(("reason", "files"), {
    "not a picture that can be read": [
        b"", b"no picture", PNG[: len(PNG) // 2], damaged_tiff(),
        PNG.replace(b"IDAT", b"IDA\x00", 1),  # SyntaxError in Pillow
        PNG.replace(b"IHDR", b"IHDX", 1),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",  # a program
    ],
    # Said before anything is unpacked: there is nothing to unpack.
    "too long": [bomb(80_000_000, 1), bomb(19_000, 150), bomb(20_000, 1)],
    # The last two are those where Pillow warns, and refuses.
    "megapixels": [bomb(9_000, 9_000), bomb(9_500, 9_500), bomb(14_000, 14_000)],
    "transparent": [as_file(Image.new("RGBA", (90, 90)))],
    "pixels large": [as_file(laid_on(WHITE, (600, 600), (300, 300), size=4))],
    "stands out": [
        as_file(Image.new("RGB", (90, 90), GREY)), as_file(Image.new("L", (1, 1))),
        as_file(Image.new("I;16", (90, 90), 700)),
        as_file(Image.fromarray(np.full((9, 9), np.nan, dtype=np.float32)), "TIFF"),
        as_file(on_ground("gradient, noise")), as_file(on_ground("cloth")),
    ],
}.items())  # fmt: skip
def test_what_cannot_be_classified_is_said_in_words(reason, files, capfd):
    for data in files:
        with pytest.raises(Unusable, match=reason) as error:
            prepare(decode(data))
        assert "object at" not in str(error.value)
        assert capfd.readouterr().err == ""  # libtiff would write there


def test_the_largest_pictures_take_little(tmp_path):
    for mode in ("L", "RGBA", "I;16"):
        Image.new(mode, (4_990, 4_990)).save(tmp_path / f"{mode}.png")
    Image.new("RGB", (7_000, 7_000)).save(tmp_path / "RGB.jpg", progressive=True)
    script = (
        "import sys, resource, time\nfrom pictures.reading import KEPT, read_picture\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most()\n"
        "for name in sys.argv[1:]:\n"
        "    start = time.process_time()\n"
        "    assert max(read_picture(name).size) == KEPT\n"
        "    print((most() - before) / 1024, time.process_time() - start)"
    )
    lines = python(script, *tmp_path.iterdir()).splitlines()
    measured = [tuple(map(float, line.split())) for line in lines]
    assert len(measured) == 4
    assert all(megabytes < 500 and seconds < 2 for megabytes, seconds in measured)


@st.composite
def damaged_pictures(draw) -> bytes:
    content = bytearray(SMALL[draw(st.sampled_from(sorted(SMALL)))])
    for _ in range(draw(st.integers(1, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: len(content) - draw(st.integers(0, 400))])


@settings(max_examples=200, deadline=None)
@given(damaged_pictures() | st.binary(max_size=300))
def test_whatever_a_file_holds(content):
    try:
        pixels = prepare(decode(content)).pixels
    except Unusable as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (28, 28)
        assert pixels.max() == 255


@pytest.mark.parametrize(("name", "reason"), [
    ("photos", r"HEIC.*JPEG.*pillow-heif"),  # the one in that folder
    ("pipe.png", "not a regular file"), ("/dev/zero", "not a regular file"),
    ("x" * 5_000, "missing"), ("missing.png", "missing"), ("[", "missing"),
    ("empty", "a folder without pictures"),
])  # fmt: skip
def test_a_name_that_stands_for_no_picture(tmp_path, monkeypatch, name, reason):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    os.mkdir("photos")
    os.mkfifo("pipe.png")
    Path("photos/IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (found,) = find_pictures([name])
    with pytest.raises(Unusable, match=reason):
        read_picture(found)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.PNG", "a.png", "[c].png", "._a.png", "notes.txt"):
        (folder / name).write_bytes(PNG)
    return folder


def test_folders_and_patterns(folder):
    names = ["[c].png", "a.png", "b.PNG"]
    assert [Path(path).name for path in find_pictures([str(folder)])] == names
    assert [Path(path).name for path in find_pictures([f"{folder}/*.png"])] == names[:2]
    assert find_pictures([f"{folder}/[c].png", "-"]) == [f"{folder}/[c].png", "-"]
    assert find_pictures([str(folder / "none*")]) == [str(folder / "none*")]


@pytest.fixture
def answers(baseline_dir, capsys):
    """Run predict.py with the model of a short run: exit code, standard output and error."""

    def run(*options, models=1) -> tuple[int, str, str]:
        model = ["--model", str(baseline_dir / "model.safetensors")] * models
        capsys.readouterr()
        code = 0
        try:
            predict([*map(str, options), *model])
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return run


def test_what_cannot_be_read_is_named_and_the_others_are_done(answers, folder):
    (folder / "broken.png").write_bytes(PNG[:-200])
    (folder / "empty.png").write_bytes(as_file(Image.new("L", (50, 50), 200)))
    code, out, error = answers(folder, "missing.png", "--top", 1)
    assert (code, error) == (1, "3 of 6 pictures could not be classified\n")
    lines = out.splitlines()
    assert len(lines) == 1 + 6
    problems = {line.split()[0].rpartition("/")[2]: line for line in lines[1:] if "%" not in line}
    assert sorted(problems) == ["broken.png", "empty.png", "missing.png"]
    assert "not a picture that can be read" in problems["broken.png"]
    assert "stands out" in problems["empty.png"]
    assert "missing" in problems["missing.png"].split(maxsplit=1)[1]


def test_the_outputs_agree(answers, folder):
    code, out, _ = answers(folder, "--json", models=2)
    assert code == 0
    listed = json.loads(out)
    assert [Path(row["file"]).name for row in listed] == ["[c].png", "a.png", "b.PNG"]
    first, second = listed[0]["models"]
    assert first == second
    shares = [answer["probability"] for answer in first["classes"]]
    assert len(shares) == 3
    assert 0 < sum(shares) <= 1.0001
    assert shares == sorted(shares, reverse=True)

    rows = list(csv.DictReader(io.StringIO(answers(folder, "--csv", models=2)[1])))
    assert len(rows) == 3 * 2 * 3
    assert [float(row["probability"]) for row in rows[:3]] == pytest.approx(shares, abs=1e-6)
    table = answers(folder, models=2)[1].splitlines()
    assert len(table) == 1 + 3 * 3
    assert table[1].split()[1:3] == [first["classes"][0]["class"], f"{100 * shares[0]:.1f}"]


def test_an_unsure_answer_says_why(answers, tmp_path):
    on_ground("floor and wall").save(tmp_path / "empty.png")
    noise = np.random.default_rng(0).integers(0, 2, (28, 28), np.uint8) * 255
    Image.fromarray(noise).resize((280, 280), 0).save(tmp_path / "noise.png")
    empty, noise = json.loads(answers(tmp_path, "--json")[1])
    assert showing.NOT_DISTINCT in empty["models"][0]["unsure"]
    assert showing.NOT_LIKE in noise["models"][0]["unsure"]
    table = answers(tmp_path, "--top", 1)[1]
    assert table.count(" ?\n") == 2
    assert showing.NOT_DISTINCT in table
    assert showing.NOT_LIKE in answers(tmp_path, "--csv", "--top", 1)[1].splitlines()[2]


def test_standard_input(answers, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PNG)))
    (row,) = json.loads(answers("-", "--json")[1])
    assert row["file"] == "-"
    assert row["models"]


def test_the_drawing(answers, folder, tmp_path):
    (folder / "$x^$\n名.png").write_bytes(PNG)
    code, _, error = answers(folder, "missing.png", "--save", tmp_path / "seen.png", models=2)
    assert (code, error.count("\n")) == (1, 1)
    with Image.open(tmp_path / "seen.png") as drawing:
        drawing.load()
        assert drawing.width > 900


@pytest.mark.parametrize("pictures", [".", "./photo.png", "*.png", "photo.png"])
def test_no_picture_is_drawn_over(fails, tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(PNG)
    line = fails(predict, pictures, "--save", "photo.png")
    assert "--save 'photo.png' is one of the pictures" in line
    assert Path("photo.png").read_bytes() == PNG
    assert "--save takes the name of a .png" in fails(predict, pictures, "--save", "photo.jpg")


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_is_not_overrun(monkeypatch, colour):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    answer = showing.Answer([("Ankle boot", 0.5), ("Bag", 0.25)], [showing.NOT_LIKE])
    long = showing.Row("folder/" * 20 + "a.png", answers=[answer])
    bad = showing.Row("b\x1b[2J\n.png", problem="not a picture that can be read " * 5)
    table = showing.as_table([long, bad], ["runs/baseline/seed0/model.safetensors"])
    assert (showing.BOLD in table) == colour
    assert "\x1b[2J" not in table
    plain = re.sub(r"\x1b\[\d*m", "", table)
    assert max(map(len, plain.splitlines())) <= 60
    assert plain.split().count("read") == 5  # all of the problem, on lines of its own
    assert "a.png" in plain
