"""Augmentation of whole batches on the device of the images.

Every random number comes from one CPU generator, whatever the device, so a seed means the same
transformations everywhere.  Image and mask always pass through the same sampling grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

KINDS = ("none", "flips", "released", "standard", "strong")

RELEASED_PROBABILITY = 0.3
RELEASED_DEGREES = 35.0
RELEASED_HOLES = 10
RELEASED_HOLE_SIDE = 32 / 256  # as a fraction of the image's side

STANDARD_DEGREES = 30.0
STANDARD_SCALE = (0.75, 1.3)
STANDARD_SHIFT = 0.1  # as a fraction of the image's side
STANDARD_WARP_PROBABILITY = 0.8
STANDARD_COLOUR_PROBABILITY = 0.8
STANDARD_BLUR_PROBABILITY = 0.2
STANDARD_NOISE_PROBABILITY = 0.2
STANDARD_NOISE = 0.04  # largest standard deviation, image values in [0, 1]
STRONG_ELASTIC_PROBABILITY = 0.5
STRONG_ELASTIC = 0.06  # largest displacement of a knot, as a fraction of the image's side
STRONG_KNOTS = 6  # along a side
STRONG_MIX_PROBABILITY = 0.5
STRONG_MIX_SIDE = (0.25, 0.75)  # of the rectangle from another image, as a fraction of the image's side
BRIGHTNESS, CONTRAST, SATURATION, CHANNEL_GAIN = 0.2, 0.25, 0.3, 0.08

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Augmentation:
    """A batch augmentation.

    Args:
        kind: ``"none"``: nothing.  ``"flips"``: horizontal flip, vertical flip and transpose,
            each for half of the images, without interpolation.  ``"released"``: the recipe of
            the released code, each with probability 0.3: rotation within 35 degrees, horizontal
            flip, vertical flip, coarse dropout of up to 10 holes of up to 32 x 32 pixels at
            256 x 256 (scaled with the size; the mask is kept). The library that the release calls
            reads its arguments as exactly 10 holes of exactly 32 x 32 pixels of the original image,
            whatever its size: each number and side here is drawn from 1 on.  ``"standard"``: flips and
            transpose, affine (30 degrees, scale 0.75 to 1.3, shift 10 %), colour jitter, light
            blur and noise.  ``"strong"``: the same with elastic deformation (knots moved by up to
            6 % of the side) in half of the images, then CutMix in half of them: a rectangle of the
            next image of the batch, with its mask (Yun et al. 2019; French et al. 2020).

    Raises:
        ValueError: ``kind`` is unknown.
    """

    def __init__(self, kind: str = "flips") -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown augmentation {kind!r}; known: {', '.join(KINDS)}")
        self.kind = kind
        self._apply = {"none": _none, "flips": _flips, "released": _released,
                       "standard": _standard, "strong": _strong}[kind]

    def __call__(self, images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Transform a batch.

        Args:
            images: (B, 3, H, H) floating, in [0, 1].
            masks: (B, 1, H, H) floating, values 0 and 1, on the same device.
            generator: CPU generator; its state advances (not for ``"none"``).

        Returns:
            Images in [0, 1] and masks of exactly 0 and 1, in shapes, dtypes and device of the
            input.  The input is not changed.

        Raises:
            ValueError: shapes do not fit, images are not square, or the generator is not on the
                CPU.
        """
        if images.ndim != 4 or masks.ndim != 4 or masks.shape[1] != 1 or (
                images.shape[0], *images.shape[2:]) != (masks.shape[0], *masks.shape[2:]):
            raise ValueError("images must be (B, 3, H, W) and masks (B, 1, H, W), got "
                             f"{tuple(images.shape)} and {tuple(masks.shape)}")
        if images.shape[2] != images.shape[3]:
            raise ValueError(f"augmentation needs square images, got {tuple(images.shape)}")
        if generator.device.type != "cpu":
            raise ValueError("generator must be a CPU generator, so that a seed means the same "
                             f"on every device; got one on {generator.device}")
        return self._apply(images, masks, generator)

    def __repr__(self) -> str:
        return f"Augmentation({self.kind!r})"


def _none(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    return images, masks


def _flips(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    horizontal, vertical, transpose = torch.rand(3, len(images), generator=generator) < 0.5
    return tuple(_flip(x, horizontal, vertical, transpose) for x in (images, masks))


def _released(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    batch, size = len(images), images.shape[-1]
    rotate, horizontal, vertical, drop = (
        torch.rand(4, batch, generator=generator) < RELEASED_PROBABILITY)
    angles = _uniform(batch, -RELEASED_DEGREES, RELEASED_DEGREES, generator)
    rows = rotate.nonzero()[:, 0]
    if len(rows):
        device_rows = _beside(images, rows)
        turned = _warp(images[device_rows], masks[device_rows], _rotation(angles[rows]),
                       torch.zeros(len(rows), 2))
        images = images.index_copy(0, device_rows, turned[0])
        masks = masks.index_copy(0, device_rows, turned[1])
    images, masks = (_flip(x, horizontal, vertical) for x in (images, masks))
    holes = _beside(images, _holes(drop, size, generator))
    return images * ~holes, masks


def _strong(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    bent = torch.rand(len(images), generator=generator) < STRONG_ELASTIC_PROBABILITY
    knots = _uniform((len(images), 2, STRONG_KNOTS, STRONG_KNOTS), -STRONG_ELASTIC, STRONG_ELASTIC, generator)
    # A shift of the whole side is 2 in normalised coordinates.
    moved = F.interpolate(2 * knots * bent[:, None, None, None], images.shape[2:], mode="bicubic", align_corners=True)
    return _cut_mix(*_standard(images, masks, generator, moved.permute(0, 2, 3, 1)), generator)


def _cut_mix(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Put a rectangle of the next image, with its mask, into some images."""
    batch, size = len(images), images.shape[-1]
    chosen = torch.rand(batch, generator=generator) < STRONG_MIX_PROBABILITY
    side = (_uniform((2, batch), *STRONG_MIX_SIDE, generator) * size).round()
    start = (torch.rand(2, batch, generator=generator) * (size - side + 1)).floor()
    inside = _within(start, side, size) & chosen[:, None]
    inside = _beside(images, (inside[0][:, :, None] & inside[1][:, None, :])[:, None])
    return torch.where(inside, images.roll(-1, 0), images), torch.where(inside, masks.roll(-1, 0), masks)


def _standard(images: Tensor, masks: Tensor, generator: Generator, moved: Tensor | None = None) -> tuple[Tensor, Tensor]:
    batch = len(images)
    horizontal, vertical, transpose = torch.rand(3, batch, generator=generator) < 0.5
    warp = torch.rand(batch, generator=generator) < STANDARD_WARP_PROBABILITY
    angles = _uniform(batch, -STANDARD_DEGREES, STANDARD_DEGREES, generator) * warp
    # Scales are drawn in the logarithm, so that growing and shrinking are balanced; the grid
    # maps output to input, hence the inverse.
    scales = torch.exp(_uniform(batch, *map(math.log, STANDARD_SCALE), generator) * warp)
    shifts = _uniform((batch, 2), -STANDARD_SHIFT, STANDARD_SHIFT, generator) * warp[:, None]

    matrices = _rotation(angles) / scales[:, None, None]
    signs = 1.0 - 2.0 * torch.stack([horizontal, vertical], dim=1).float()
    matrices = matrices * signs[:, None, :]
    matrices = torch.where(transpose[:, None, None], matrices.flip(2), matrices)
    # A shift of the whole side is 2 in normalised coordinates.
    images, masks = _warp(images, masks, matrices, 2 * shifts, moved)
    images = _jitter_colours(images, generator)
    images = _blur_some(images, generator)
    images = _noise_some(images, generator)
    return images.clamp_(0, 1), masks


def _beside(x: Tensor, drawn: Tensor) -> Tensor:
    """What was drawn on the CPU on the device of ``x``, without waiting for the work that a GPU still has: the step before."""
    return drawn.to(x.device, non_blocking=x.is_cuda)


def _flip(x: Tensor, horizontal: Tensor, vertical: Tensor, transpose: Tensor | None = None) -> Tensor:
    """Flip the chosen images of (B, C, H, H); exact, no interpolation.  The choices are on the CPU."""
    x = _change(x, horizontal, lambda part: part.flip(3))
    x = _change(x, vertical, lambda part: part.flip(2))
    if transpose is not None:
        x = _change(x, transpose, lambda part: part.transpose(2, 3))
    return x


def _change(x: Tensor, chosen: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``function`` to the rows of ``x`` that ``chosen`` (bool, CPU) names, and copy the rest."""
    rows = _beside(x, chosen.nonzero()[:, 0])
    return x.index_copy(0, rows, function(x[rows])) if len(rows) else x


def _warp(images: Tensor, masks: Tensor, matrices: Tensor, shifts: Tensor,
          moved: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sample both at ``matrices @ (x, y) + shifts + moved``, bilinear, mirrored beyond the border.

    Coordinates are normalised so that -1 and 1 are the centres of the outermost pixels.  The
    mirror is applied to the grid itself (a triangular wave), so no sample leaves the image and
    no device needs a padding mode of its own.

    Args:
        matrices: (B, 2, 2) on the CPU, output to input, rows x and y.
        shifts: (B, 2) on the CPU.  moved: (B, H, W, 2) on the CPU, of each pixel, or none.
    """
    theta = torch.cat([matrices, shifts[:, :, None]], dim=2)
    # The grid is float32 on every device: half precision cannot name all pixels of a large image.
    both = torch.cat([images, masks.to(images.dtype)], dim=1).float()
    grid = F.affine_grid(_beside(images, theta), list(both.shape), align_corners=True)
    if moved is not None:
        grid = grid.add_(_beside(images, moved))
    grid = grid.add_(1).remainder_(4).sub_(2).abs_().neg_().add_(1)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    channels = images.shape[1]
    return both[:, :channels].to(images.dtype), (both[:, channels:] >= 0.5).to(masks.dtype)


def _rotation(degrees: Tensor) -> Tensor:
    """(B,) degrees to (B, 2, 2) rotation matrices."""
    radians = torch.deg2rad(degrees)
    cos, sin = radians.cos(), radians.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], dim=1)


def _holes(drop: Tensor, size: int, generator: Generator) -> Tensor:
    """(B, 1, size, size) bool, True in the holes of coarse dropout; nothing where not ``drop``."""
    batch, largest = len(drop), max(1, round(size * RELEASED_HOLE_SIDE))
    count = torch.randint(1, RELEASED_HOLES + 1, (batch, 1), generator=generator)
    used = (torch.arange(RELEASED_HOLES) < count) & drop[:, None]
    side = torch.randint(1, largest + 1, (2, batch, RELEASED_HOLES), generator=generator)
    start = (torch.rand(2, batch, RELEASED_HOLES, generator=generator) * (size - side + 1)).long()
    inside = _within(start, side, size)
    rows, columns = (inside[0] & used[..., None]).float(), inside[1].float()
    return (torch.einsum("bkh,bkw->bhw", rows, columns) > 0)[:, None]


def _within(start: Tensor, side: Tensor, size: int) -> Tensor:
    """(...) first pixels and lengths -> (..., size) bool, True within."""
    position = torch.arange(size)
    return (position >= start[..., None]) & (position < (start + side)[..., None])


def _jitter_colours(images: Tensor, generator: Generator) -> Tensor:
    """Brightness, contrast about the mean grey, saturation and channel gains, as one 3 x 3 matrix
    and an offset per image: all four are linear in the colours."""
    batch = len(images)
    chosen = (torch.rand(batch, 1, generator=generator) < STANDARD_COLOUR_PROBABILITY).float()
    strength = torch.tensor([BRIGHTNESS, CONTRAST, SATURATION] + 3 * [CHANNEL_GAIN])
    factors = 1 + _uniform((batch, 6), -1, 1, generator) * strength * chosen
    factors = _beside(images, factors.to(images.dtype))
    brightness, contrast, saturation = factors[:, :3].T[..., None]
    gains = factors[:, 3:, None]
    luma = _beside(images, torch.tensor(LUMA, dtype=images.dtype))
    mean_grey = images.mean(dim=(2, 3)) @ luma
    identity = torch.eye(3, device=images.device, dtype=images.dtype)
    saturate = saturation[..., None] * identity + (1 - saturation[..., None]) * luma
    matrix = gains * (contrast * brightness)[..., None] * saturate
    offset = gains * ((1 - contrast) * brightness * mean_grey[:, None])[..., None]
    return torch.baddbmm(offset, matrix, images.flatten(2)).view_as(images)


def _blur_some(images: Tensor, generator: Generator) -> Tensor:
    """Blend some images with their 3 x 3 mean."""
    batch = len(images)
    chosen = torch.rand(batch, generator=generator) < STANDARD_BLUR_PROBABILITY
    amount = torch.rand(batch, generator=generator)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    amount = _beside(images, amount[rows, None, None, None].to(images.dtype))
    rows = _beside(images, rows)
    sharp = images[rows]
    soft = F.avg_pool2d(sharp, 3, stride=1, padding=1, count_include_pad=False)
    return images.index_copy(0, rows, torch.lerp(sharp, soft, amount))


def _noise_some(images: Tensor, generator: Generator) -> Tensor:
    """Add white noise to some images; drawn for those alone, since it is the costly part."""
    batch = len(images)
    chosen = torch.rand(batch, generator=generator) < STANDARD_NOISE_PROBABILITY
    sigma = torch.rand(batch, generator=generator) * STANDARD_NOISE
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    noise = torch.randn(len(rows), *images.shape[1:], generator=generator)
    noise = _beside(images, (noise * sigma[rows, None, None, None]).to(images.dtype))
    return images.index_add(0, _beside(images, rows), noise)


def _uniform(shape: int | tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    shape = (shape,) if isinstance(shape, int) else shape
    return low + (high - low) * torch.rand(*shape, generator=generator)
