"""Decoding and squashing of single images and masks."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from archives import disc, encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ehanet.data.images import decode_image, decode_mask, squash_image, squash_mask, wide_pixels, wide_range
from ehanet.data.own_images import decode_own_mask


def brute_force_average(mask: np.ndarray, size: int) -> np.ndarray:
    """Area average by definition: every source pixel cut into size x size parts, every target pixel into H x W of them."""
    height, width = mask.shape
    fine = np.repeat(np.repeat(mask, size, axis=0), size, axis=1)
    return fine.reshape(size, height, size, width).mean(axis=(1, 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 23), st.integers(1, 23), st.integers(1, 19), st.integers(0, 2**31))
def test_masks_are_averaged_over_the_exact_area(height, width, size, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    average = brute_force_average(mask, size)
    clear = np.abs(average - 0.5) > 1e-9
    squashed = squash_mask(mask, size)
    assert squashed.dtype == np.uint8
    np.testing.assert_array_equal(squashed[clear], (average > 0.5)[clear])
    assert (squashed[~clear] == 1).all()  # a tie belongs to the foreground


@pytest.mark.parametrize("shape", [(352, 352), (300, 451), (64, 64)])
def test_masks_agree_with_opencv_when_shrinking(shape):
    mask = disc(3, shape[1], shape[0])
    average = cv2.resize(mask.astype(np.float64), (32, 32), interpolation=cv2.INTER_AREA)
    assert squash_mask(mask, 32).sum() > 0
    clear = np.abs(average - 0.5) > 1e-6
    np.testing.assert_array_equal(squash_mask(mask, 32)[clear], (average > 0.5)[clear])


def test_a_half_covered_pixel_is_foreground_and_one_step_less_is_not():
    mask = np.zeros((4, 4), bool)
    mask[:2, 0], mask[2:, 2] = True, True
    mask[0, 3] = True
    np.testing.assert_array_equal(squash_mask(mask, 2), [[1, 0], [0, 1]])


def test_images_are_shrunk_with_antialiasing():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    small = squash_image(stripes, 8)
    assert abs(int(small.mean()) - 100) <= 1 and small[:, 1:-1].std() < 2  # a plain bilinear sample would keep the stripes
    assert squash_image(small, 8) is small


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["PNG", "TIFF", "BMP"]), st.integers(0, 1000))
def test_lossless_colour_images_come_back(kind, seed):
    image = picture(seed)
    np.testing.assert_array_equal(decode_image(encoded(image, kind), "a"), image)


def test_alpha_is_dropped_and_grey_repeated():
    image = picture(1)
    alpha = np.zeros((32, 40, 1), np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(np.dstack([image, alpha]), "PNG"), "a.png"), image)
    grey = decode_image(encoded(image[..., 0], "PNG"), "a.png")
    assert grey.shape == (32, 40, 3) and (grey == image[..., :1]).all()


@pytest.mark.parametrize(("dtype", "top", "kind"), [("uint16", 65535, "PNG"), ("uint16", 4095, "TIFF"), ("float32", 1.0, "TIFF"), ("float32", 255.0, "TIFF")])
def test_wide_grey_images_are_scaled_to_eight_bits(dtype, top, kind):
    ramp = np.linspace(0, top, 256).astype(dtype).reshape(16, 16)
    decoded = decode_image(encoded(ramp, kind), "scan")
    assert decoded.dtype == np.uint8 and decoded.min() == 0 and decoded.max() == 255
    assert np.abs(decoded[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey_alpha_png(grey):
    """A PNG of 16-bit grey with alpha, which OpenCV does not write."""
    rows = np.dstack([grey, np.full_like(grey, 65535)]).astype(">u2")
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 4, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))) + chunk(b"IEND", b"")


def wide_colours(top):
    """A file of 16-bit colours up to ``top`` in every usual coding -> its values (H, W, 3) and the files' bytes."""
    values = np.random.default_rng(0).integers(0, top + 1, (37, 53, 3)).astype(np.uint16)
    values[0, 0] = 0, top, top
    alpha = np.dstack([values, np.full(values.shape[:2], 65535, np.uint16)])
    files = {f"{kind}{' with alpha' * (array.shape[2] == 4)}": cv2.imencode(kind, array[..., [2, 1, 0, 3][:array.shape[2]]])[1].tobytes() for kind in (".png", ".tif") for array in (values, alpha)}
    for label, options in {"big-endian": {"byteorder": ">"}, "deflate": {"compression": "zlib"}, "tiles": {"tile": (16, 16)}}.items():
        tifffile.imwrite(buffer := io.BytesIO(), values, photometric="rgb", **options)
        files[label] = buffer.getvalue()
    return values, files


@pytest.mark.parametrize("top", [65535, 4095, 255])
def test_wide_colours_are_scaled_as_grey_is(top):
    values, files = wide_colours(top)
    for label, data in files.items():
        np.testing.assert_array_equal(wide_pixels(data, label), values, err_msg=label)
        np.testing.assert_array_equal(decode_image(data, label), np.rint(values * (255 / top)), err_msg=label)
        assert wide_range(data, label) == top
    grey = np.repeat(values[..., :1], 3, axis=2)
    np.testing.assert_array_equal(wide_pixels(grey_alpha_png(values[..., 0]), "a.png"), grey)
    assert wide_pixels(encoded(picture(0), "PNG"), "a.png") is None


def test_wide_colours_in_planes_are_refused():
    tifffile.imwrite(buffer := io.BytesIO(), np.zeros((3, 8, 8), np.uint16), photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match="^a.tif: a TIFF of 16-bit colours in separate planes is not read; export it with interleaved colours, or as PNG$"):
        decode_image(buffer.getvalue(), "a.tif")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -3.0, 1e6])
def test_values_that_are_no_image_are_refused(bad):
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 1] = bad
    with pytest.raises(ValueError, match=r"scan\.tif.*(NaN|values)"):
        decode_image(encoded(values, "TIFF"), "scan.tif")


@pytest.mark.parametrize(("values", "known"), [(np.array([[-100, 2410]], np.float32), "0 to 1 or 0 to 255"), (np.array([[-100, 2410]], np.int32), "0 to 255, 0 to 4095 or 0 to 65535")])
def test_values_out_of_range_come_with_the_way_out(values, known):
    with pytest.raises(ValueError, match=f"^scan.tif: pixel values from -100 to 2410 fit none of the ranges {known}; choose a window, scale it to 0 to 255 and save it as 8-bit PNG$"):
        decode_image(encoded(values, "TIFF"), "scan.tif")


@pytest.mark.parametrize(("data", "message"), [
    (b"", "is empty .0 bytes.; fetch or export the file again"), (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC is not read; export it as JPEG"),
    (bytes(128) + b"DICM" + bytes(40), "DICOM is not read; export it as PNG"),
])
def test_what_people_have_in_place_of_an_image_is_named(data, message):
    with pytest.raises(ValueError, match=f"^a.jpg: {message}$"):
        decode_image(data, "a.jpg")


def test_damaged_and_foreign_files_are_named():
    data = encoded(picture(0, 200, 200), "JPEG")
    for broken in (data[: len(data) // 2], b"not an image", data[:100]):
        with pytest.raises(ValueError, match=r"^a\.jpg: not a readable image") as caught:
            decode_image(broken, "a.jpg")
        assert "\n" not in str(caught.value)


def test_the_pixel_limit_stops_a_bomb_and_can_be_raised(monkeypatch):
    data = encoded(np.zeros((300, 300), np.uint8), "PNG")
    monkeypatch.setenv("EHANET_MAX_PIXELS", "80000")
    with pytest.raises(ValueError, match="300 x 300 pixels exceed the limit of 80000; set EHANET_MAX_PIXELS"):
        decode_image(data, "bomb.png")
    monkeypatch.setenv("EHANET_MAX_PIXELS", "90000")
    assert decode_image(data, "bomb.png").shape == (300, 300, 3)
    monkeypatch.setenv("EHANET_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="EHANET_MAX_PIXELS must be a whole number"):
        decode_image(data, "bomb.png")


def test_published_jpeg_masks_are_cut_at_127():
    values = np.repeat(np.array([[0, 100, 127, 128, 255]], np.uint8), 4, axis=0)
    np.testing.assert_array_equal(decode_mask(encoded(values, "PNG"), "m.png")[0], [False, False, False, True, True])
    mask = disc(2, 200, 160)
    assert (decode_mask(encoded(mask, "JPEG", quality=60), "m.jpg") != mask).mean() < 0.01


MASK = disc(5)


def coloured(palette, indices=MASK):
    """A palette image with index 1 where ``indices`` are set."""
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette(palette)
    return image


def own_mask_variants():
    palette = coloured([0, 0, 0, 128, 0, 0])
    soft = MASK * np.uint8(255)
    soft[0, 0] = 60  # a soft edge
    red = np.zeros((*MASK.shape, 3), np.uint8)
    red[MASK] = (255, 0, 0)
    return {
        "0/1": (MASK.astype(np.uint8), "PNG"),
        "0/255": (MASK, "PNG"),
        "0/128": (MASK * np.uint8(128), "PNG"),
        "16-bit 0/1": (MASK.astype(np.uint16), "PNG"),
        "16-bit 0/65535": (MASK * np.uint16(65535), "PNG"),
        "float 0/1": (MASK.astype(np.float32), "TIFF"),
        "soft": (soft, "PNG"),
        "RGB grey": (np.repeat(MASK[..., None] * np.uint8(255), 3, axis=2), "PNG"),
        "red on black": (red, "PNG"),
        "RGBA": (np.dstack([np.repeat(MASK[..., None] * np.uint8(255), 3, axis=2), np.full(MASK.shape, 255, np.uint8)]), "PNG"),
        "palette": (palette, "PNG"),
        "black and white palette": (coloured([0, 0, 0, 255, 255, 255]), "PNG"),
        "white first": (coloured([255, 255, 255, 0, 0, 0], ~MASK), "PNG"),
        "white first, BMP": (coloured([255, 255, 255, 0, 0, 0], ~MASK), "BMP"),
        "dark grey and white": (coloured([10, 10, 10, 255, 255, 255]), "PNG"),
        "all black palette": (coloured([0, 0, 0, 0, 0, 0]), "PNG"),
        "quantized": (Image.fromarray(MASK * np.uint8(255)).quantize(2), "PNG"),
        "white for the background colour": (coloured([255, 255, 255, 0, 0, 255]), "PNG"),
        "dim and bright": (np.where(MASK[..., None], np.uint8([253, 231, 37]), np.uint8([68, 1, 84])), "PNG"),
        "16-bit colours 0/1": (cv2.imencode(".png", np.repeat(MASK[..., None].astype(np.uint16), 3, axis=2))[1].tobytes(), "PNG"),
        "alpha of the same object": (np.dstack([MASK * np.uint8(255)] * 4), "PNG"),
        "soft alpha": (np.dstack([MASK * np.uint8(255)] * 3 + [np.where(MASK & ~np.roll(MASK, 1, 0), 90, MASK * np.uint8(255)).astype(np.uint8)]), "PNG"),
        "one bit": (Image.fromarray(MASK), "PNG"),
    }


@pytest.mark.parametrize("variant", own_mask_variants())
def test_own_masks_in_every_usual_coding(variant):
    value, kind = own_mask_variants()[variant]
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, kind)
        data = buffer.getvalue()
    else:
        data = encoded(value, kind)
    np.testing.assert_array_equal(decode_own_mask(data, "m.png"), MASK)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])
@pytest.mark.parametrize("side", [6, 16, 36])
def test_a_coloured_object_on_black_is_the_object_whatever_its_index(colour, side):
    """Pillow's quantizers and its GIFs may give the colour index 0, and the black background another."""
    mask = np.zeros((40, 40), bool)
    mask[2:2 + side, 2:2 + side] = True
    image = Image.fromarray(np.where(mask[..., None], np.uint8(colour), np.uint8(0)))
    for name, made in (("m.png", image.quantize(2)), ("m.png", image.convert("P", palette=Image.Palette.ADAPTIVE)), ("m.gif", image)):
        made.save(buffer := io.BytesIO(), name[2:])
        np.testing.assert_array_equal(decode_own_mask(buffer.getvalue(), name), mask)


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 200, 255), (255, 128, 0), (0, 85, 170, 255), (22, 96, 198)])
def test_a_map_of_classes_or_objects_that_reaches_half_is_refused_a_soft_edge_is_not(levels):
    stripes = np.repeat(np.uint8(levels), 10)[None].repeat(30, axis=0)
    with pytest.raises(ValueError, match=r"^m\.png: the mask holds an area of the value \d+ between \d+ and \d+, as a map of several classes or objects does; make it binary"):
        decode_own_mask(encoded(stripes, "PNG"), "m.png")
    far = np.hypot(*np.ogrid[-60:60, -60:60])
    for width in (1, 4, 16):  # pixels of the ramp
        soft = np.uint8(255 / (1 + np.exp((far - 40) / width * 2)))
        np.testing.assert_array_equal(decode_own_mask(encoded(soft, "PNG"), "m.png"), soft > 127)


def test_own_jpeg_masks_are_cut_at_127_so_noise_is_background():
    noise = np.random.default_rng(0).integers(0, 9, (40, 40), dtype=np.uint8)
    assert not decode_own_mask(encoded(noise, "JPEG"), "m.jpg").any()


def test_a_label_map_of_several_classes_is_refused():
    labels = np.arange(4, dtype=np.uint8).repeat(4).reshape(4, 4)
    with pytest.raises(ValueError, match=r"m\.png: the mask holds the values 0, 1, 2, 3"):
        decode_own_mask(encoded(labels, "PNG"), "m.png")


def indexed(count, palette):
    return coloured(palette, np.arange(16).reshape(4, 4) % count)


RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
AMBIGUOUS = {
    "three colours": (lambda: np.uint8([[[0, 0, 0], RED, GREEN]]), "holds 3 colours; make it binary"),
    "two colours of one brightness": (lambda: np.uint8([[RED, BLUE]]), "holds 2 colours, equally bright; make it binary"),
    "a palette without black or index 0": (lambda: coloured([0, 0, 0, *RED, *GREEN], 1 + MASK), "which of the two colours of its palette is the object cannot be told; make it binary"),
    "a palette of three": (lambda: indexed(3, [0, 0, 0, *RED, *GREEN]), "holds 3 colours of its palette; make it binary"),
    "object in alpha alone": (lambda: np.dstack([np.full((*MASK.shape, 3), 255, np.uint8), MASK * np.uint8(255)]), "alpha channel shows another object than its colours; make it binary"),
    "black object on nothing": (lambda: np.dstack([np.zeros((*MASK.shape, 3), np.uint8), MASK * np.uint8(255)]), "alpha channel shows another object than its colours"),
}


@pytest.mark.parametrize(("values", "read"), [((128, 255), False), ((200, 255), False), ((250, 255), True), ((255, 255), True), ((0, 200), True)])
def test_two_greys_of_which_none_is_dark_are_refused(values, read):
    mask = np.where(MASK, np.uint8(values[1]), np.uint8(values[0]))
    if read:
        np.testing.assert_array_equal(decode_own_mask(encoded(mask, "PNG"), "m.png"), mask > 127)
    else:
        with pytest.raises(ValueError, match=rf"^m.png: the mask holds the values {values[0]}, {values[1]}...; make it binary \(0 and 255\) first$"):
            decode_own_mask(encoded(mask, "PNG"), "m.png")


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_a_mask_that_may_mean_two_things_is_refused(case):
    draw, message = AMBIGUOUS[case]
    image = draw()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer := io.BytesIO(), "PNG")
    with pytest.raises(ValueError, match=rf"^m\.png: (the mask('s|) |){message}") as caught:
        decode_own_mask(buffer.getvalue(), "m.png")
    assert "\n" not in str(caught.value)


def test_a_lossy_colour_mask_has_many_colours_and_is_read():
    red = MASK[..., None] * np.uint8([255, 0, 0])
    assert (decode_own_mask(encoded(red, "JPEG", quality=95, subsampling=0), "m.png") != MASK).mean() < 0.02, "by what is in the file, whatever it is called"
    assert (decode_own_mask(encoded(red, "WEBP", lossless=True), "m.webp") == MASK).all()


@pytest.mark.parametrize(("palette", "expected"), [([0, 0, 0], False), ([255, 255, 255], True), ([0, 0, 0, 128, 0, 0], False)])
def test_a_palette_mask_of_one_index_is_empty_or_full_by_its_grey(palette, expected):
    data = io.BytesIO()
    coloured(palette, np.zeros((4, 4), bool)).save(data, "PNG")
    assert (decode_own_mask(data.getvalue(), "m.png") == expected).all()
