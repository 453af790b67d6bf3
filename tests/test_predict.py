"""Pictures of any kind, as the models see them, and what predict.py says of them."""

import csv
import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import grounds
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from pictures import reading, showing
from pictures.preparing import prepare
from pictures.reading import Unusable, decode, find_pictures, read_picture
from predict import main as predict

HERE = Path(__file__).parent.parent
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
    grey = laid_on(WHITE).convert("L")
    neutral = Image.new("L", grey.size, 128)
    return Image.merge("LAB", [grey, neutral, neutral])


def with_transparent_colour() -> Image.Image:
    """Mode P, one of whose colours is declared transparent: the GIF way."""
    pixels = np.where(ITEM > 0, 255 - ITEM, 254).repeat(10, axis=0).repeat(10, axis=1)
    image = Image.fromarray(pixels.astype(np.uint8)).convert("P")
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


def test_two_levels_show_the_silhouette():
    silhouette = 255 * (ITEM > 0)
    assert difference(seen(Image.fromarray(silhouette == 0).resize((280, 280))), silhouette) == 0


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


def test_a_ground_without_an_item_is_not_taken_for_one():
    for name in ("gradient, noise", "cloth"):
        with pytest.raises(Unusable, match="stands out"):
            prepare(on_ground(name))
    assert not prepare(on_ground("floor and wall")).distinct


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


@pytest.mark.parametrize("level", [0, 20, 128, 240, 255])
def test_every_item_on_transparent_ground_is_seen(level):
    plain = np.where(ITEM > 0, 255, 0)
    image = cut_out()
    image.paste((level,) * 3, (0, 0, 280, 280), mask=image.getchannel("A"))
    assert difference(seen(image), plain) == 0


def test_a_white_item_on_grey_ground_is_seen():
    image = Image.new("RGB", (280, 280), GREY)
    image.paste(WHITE, mask=cut_out().getchannel("A"))
    assert difference(seen(image), np.where(ITEM > 0, 255, 0)) < 1


def test_bright_things_on_black_are_not_negated():
    assert seen(Image.fromarray(ITEM).resize((280, 280), 0))[20, 14] > 200


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGBA", (90, 90)), "transparent"),
        (Image.new("RGB", (90, 90), GREY), "stands out"),
        (Image.new("L", (1, 1)), "stands out"),
        (Image.new("I;16", (90, 90), 700), "stands out"),
        (Image.fromarray(np.full((9, 9), np.nan, dtype=np.float32)), "stands out"),
        (laid_on(WHITE, (600, 600), (300, 300), size=4), "pixels large"),
    ],
)
def test_nothing_to_see_is_said(image, reason):
    with pytest.raises(Unusable, match=reason):
        seen(image, "TIFF")


def test_a_photo_lies_as_its_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = laid_on(WHITE).transpose(Image.Transpose.ROTATE_90)
    assert difference(seen(turned, "JPEG", exif=exif, quality=95)) < 4


def test_large_pictures_are_made_smaller():
    assert max(decode(as_file(Image.new("L", (3_000, 40)))).size) == reading.KEPT


def test_one_pixel_wide_and_very_long():
    with pytest.raises(Unusable):
        seen(Image.new("L", (20_000, 1)))


PNG = as_file(laid_on(WHITE, (60, 60), size=56))
SMALL = {
    kind: as_file(cut_out(size=28).convert(mode), kind)
    for kind, mode in [("PNG", "RGBA"), ("GIF", "P"), ("TIFF", "RGBA"), ("JPEG", "L"),
                       ("WEBP", "RGB"), ("BMP", "RGB"), ("ICO", "RGBA"), ("TGA", "RGBA"),
                       ("PPM", "RGB"), ("DDS", "RGBA"), ("SGI", "RGB"), ("PCX", "P")]
}  # fmt: skip


@pytest.mark.parametrize("data", [
    b"", b"no picture", PNG[: len(PNG) // 2],
    PNG.replace(b"IDAT", b"IDA\x00", 1),  # SyntaxError in Pillow
    PNG.replace(b"IHDR", b"IHDX", 1),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",  # a program
], ids=["empty", "text", "cut", "chunk", "header", "EPS"])  # fmt: skip
def test_damaged_files_are_said_to_be(data):
    with pytest.raises(Unusable, match="not a picture that can be read") as error:
        decode(data)
    assert "object at" not in str(error.value)


def test_no_decoder_writes_to_the_terminal(capfd):
    data = bytearray(as_file(laid_on(WHITE), "TIFF", compression="tiff_adobe_deflate"))
    data[8:80] = bytes(72)  # libtiff: ZIPDecode: Decoding error at scanline 0
    with pytest.raises(Unusable):
        decode(bytes(data))
    assert capfd.readouterr().err == ""


def grey_png(width: int, height: int) -> bytes:
    """A black picture in a file of a thousandth of its size."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize(("width", "height", "reason"), [
    (80_000_000, 1, "too long"), (19_000, 150, "too long"), (9_000, 9_000, "megapixels"),
    (9_500, 9_500, "megapixels"), (14_000, 14_000, "megapixels"),  # where Pillow warns, or refuses
])  # fmt: skip
def test_a_bomb_is_refused_before_it_unpacks(width, height, reason):
    data = grey_png(width, height)
    start = time.process_time()
    with pytest.raises(Unusable, match=reason):
        decode(data)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "JPEG"])
def test_the_largest_pictures_take_little(mode):
    kind, edge = ("JPEG", 7_000) if mode == "JPEG" else ("PNG", 4_990)
    image = Image.new("RGB" if mode == "JPEG" else mode, (edge, edge))
    content = as_file(image, kind, **({"progressive": True} if mode == "JPEG" else {}))
    del image
    script = (
        "import sys, resource, time\nfrom pictures.reading import decode\n"
        "data = sys.stdin.buffer.read()\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before, start = most(), time.process_time()\ndecode(data)\n"
        "print((most() - before) / 1024, time.process_time() - start)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, input=content, capture_output=True, check=True, cwd=HERE)
    megabytes, seconds = map(float, done.stdout.split())
    assert megabytes < 500
    assert seconds < 2


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(sorted(SMALL)), cut=st.integers(0, 400), data=st.data())
def test_whatever_a_file_holds(kind, cut, data):
    content = bytearray(SMALL[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = prepare(decode(bytes(content[: len(content) - cut]))).pixels
    except Unusable as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (28, 28)
        assert pixels.max() == 255


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(content):
    with pytest.raises(Unusable):
        decode(content)


def test_a_heic_photo_is_named_and_not_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (found,) = find_pictures([str(tmp_path)])
    with pytest.raises(Unusable, match=r"HEIC.*JPEG.*pillow-heif"):
        read_picture(found)


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(Unusable, match="not a regular file"):
            read_picture(str(name))


@pytest.mark.parametrize("name", ["x" * 5_000, "missing.png", "["])
def test_names_that_stand_for_nothing(name):
    (found,) = find_pictures([name])
    with pytest.raises(Unusable):
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
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (28, 28), np.uint8) * 255).resize(
        (280, 280), 0
    ).save(tmp_path / "noise.png")
    listed = json.loads(answers(tmp_path, "--json")[1])
    empty, noise = (row["models"][0]["unsure"] for row in listed)
    assert showing.NOT_DISTINCT in empty
    assert showing.NOT_LIKE in noise
    table = answers(tmp_path, "--top", 1)[1]
    assert table.count(" ?\n") == 2
    assert showing.NOT_DISTINCT in table
    assert showing.NOT_LIKE in answers(tmp_path, "--csv", "--top", 1)[1].splitlines()[2]


def test_standard_input(baseline_dir):
    command = [sys.executable, "predict.py", "-", "--json"]
    command += ["--model", str(baseline_dir / "model.safetensors")]
    done = subprocess.run(command, input=PNG, capture_output=True, check=True, cwd=HERE)
    (row,) = json.loads(done.stdout)
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


def test_a_missing_model(fails, tmp_path):
    assert "missing" in fails(predict, "photo.jpg", "--model", tmp_path / "model.safetensors")


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_is_not_overrun(monkeypatch, colour):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    rows = [
        showing.Row(
            "folder/" * 20 + "a.png",
            answers=[showing.Answer([("Ankle boot", 0.5), ("Bag", 0.25)], [showing.NOT_LIKE])],
        ),
        showing.Row("b\x1b[2J\n.png", problem="not a picture that can be read " * 5),
    ]
    table = showing.as_table(rows, ["runs/baseline/seed0/model.safetensors"])
    assert ("\x1b[1m" in table) == colour
    assert "\x1b[2J" not in table
    plain = table
    for code in (showing.BOLD, showing.RED, showing.PLAIN):
        plain = plain.replace(code, "")
    assert max(map(len, plain.splitlines())) <= 60
    assert plain.split().count("read") == 5  # all of the problem, on lines of its own
    assert "a.png" in plain
