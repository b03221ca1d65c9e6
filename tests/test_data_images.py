"""Decoding and squashing of single images and masks."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from archives import disc, encoded, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ehanet.data.images import decode_image, decode_mask, decode_own_image, decode_own_mask, squash_image, squash_mask


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -3.0, 1e6])
def test_values_that_are_no_image_are_refused(bad):
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 1] = bad
    with pytest.raises(ValueError, match=r"scan\.tif.*(NaN|values)"):
        decode_image(encoded(values, "TIFF"), "scan.tif")


def test_damaged_and_foreign_files_are_named():
    data = encoded(picture(0, 200, 200), "JPEG")
    for broken in (data[: len(data) // 2], b"", b"not an image", data[:100]):
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
        "one bit": (Image.fromarray(MASK), "PNG"),
    }


@pytest.mark.parametrize("variant", own_mask_variants())
def test_own_masks_in_every_usual_coding(variant):
    value, kind = own_mask_variants()[variant]
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, kind)
        data = buffer.getvalue()
    else:
        data = encoded(value, kind)
    np.testing.assert_array_equal(decode_own_mask(data, "m.png"), MASK)


def test_own_jpeg_masks_are_cut_at_127_so_noise_is_background():
    noise = np.random.default_rng(0).integers(0, 9, (40, 40), dtype=np.uint8)
    assert not decode_own_mask(encoded(noise, "JPEG"), "m.jpg").any()


def test_a_label_map_of_several_classes_is_refused():
    labels = np.arange(4, dtype=np.uint8).repeat(4).reshape(4, 4)
    with pytest.raises(ValueError, match=r"m\.png: the mask holds the values 0, 1, 2, 3"):
        decode_own_mask(encoded(labels, "PNG"), "m.png")


@pytest.mark.parametrize(("palette", "expected"), [([0, 0, 0], False), ([255, 255, 255], True), ([0, 0, 0, 128, 0, 0], False)])
def test_a_palette_mask_of_one_index_is_empty_or_full_by_its_grey(palette, expected):
    data = io.BytesIO()
    coloured(palette, np.zeros((4, 4), bool)).save(data, "PNG")
    assert (decode_own_mask(data.getvalue(), "m.png") == expected).all()


def saved(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 6), ("PNG", 3), ("TIFF", 8), ("WEBP", 2), ("JPEG", 5)])
def test_an_own_file_that_a_viewer_turns_is_refused_and_a_published_one_is_read_as_stored(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(0), kind, exif=exif)
    for decode in (decode_own_image, decode_own_mask):
        with pytest.raises(ValueError, match=rf"^a\.x: stored turned or mirrored \(EXIF orientation {orientation}\), .*; save it upright$"):
            decode(data, "a.x")
    if kind != "TIFF":  # Pillow itself turns a TIFF
        np.testing.assert_array_equal(decode_image(data, "a.x"), decode_image(saved(picture(0), kind), "a.x"))


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_orientation_that_turns_nothing_is_no_hindrance(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_own_image(saved(picture(0), "PNG", exif=exif), "a.png"), picture(0))


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_an_own_file_of_several_pages_is_refused(kind):
    page = disc(0).astype(np.uint8) * 255
    pages = saved(page, kind, save_all=True, append_images=[Image.fromarray(255 - page), Image.fromarray(page // 2)])
    for decode in (decode_own_image, decode_own_mask):
        with pytest.raises(ValueError, match=r"^a\.x: holds 3 images \(an animation or several pages\); save the one you mean as PNG or JPEG$"):
            decode(pages, "a.x")
