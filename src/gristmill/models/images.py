"""Images between PIL and tensors.

A program receives an image as a tensor ``[1, channels, height, width]`` of pixel values 0…255 (0…1 and more for 16-bit
float grey); scale and bias are ops of the program itself. An image output is rounded to whole pixel values, to nearest
even, and clamped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError, UnsupportedError
from gristmill.ir.constants import Array
from gristmill.ir.types import TensorType

_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}


def pil() -> Any:
    """The module ``PIL.Image``.

    Raises:
        UnsupportedError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise UnsupportedError("images need Pillow", hint="pip install 'gristmill[image]'") from error
    return Image


def checked(name: str, value: Any, layout: str) -> Any:
    """A PIL image in the mode that a colour layout asks for.

    An alpha channel is dropped; a grey image does not become a coloured one, nor the other way round.

    Raises:
        InputTypeError: It is no PIL image, or of another mode.
    """
    if not isinstance(value, pil().Image):
        raise InputTypeError(
            f"input '{name}' is an image",
            expected=f"a PIL image for {layout}",
            actual=type(value).__name__,
            hint="PIL.Image.fromarray makes one of an array",
        )
    wanted = _MODES.get(layout)
    if wanted is None:
        raise UnsupportedError(f"image '{name}' has no colours", expected=", ".join(_MODES), actual=layout)
    if value.mode == wanted:
        return value
    if wanted == "RGB" and value.mode in ("RGBA", "RGBX", "P"):
        return value.convert("RGB")
    if wanted == "F" and value.mode in ("L", "I;16", "I"):
        return value.convert("F")
    raise InputTypeError(
        f"image '{name}' has another mode",
        expected=f"{wanted} for {layout}",
        actual=value.mode,
        hint=f"image.convert('{wanted}')",
    )


def to_array(image: Any, layout: str, declared: TensorType) -> Array:
    """Pixels as the program's tensor."""
    pixels = np.asarray(image)
    if layout == "BGR":
        pixels = pixels[:, :, ::-1]
    channels_first = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    if declared.rank not in (3, 4):
        raise UnsupportedError("an image becomes a tensor of rank 3 or 4", actual=declared)
    array = np.ascontiguousarray(channels_first.astype(declared.dtype.numpy))
    return array[None] if declared.rank == 4 else array


def from_array(array: Array, layout: str) -> Any:
    """The program's tensor as a PIL image."""
    pixels = array.reshape(array.shape[-3:]) if array.ndim >= 3 else array[None]
    if array.ndim > 3 and array.shape[:-3].count(1) != array.ndim - 3:
        raise InputError("an image output is one image", actual=list(array.shape))
    if layout == "GRAYSCALE_FLOAT16":
        return pil().fromarray(pixels[0].astype(np.float32), mode=None)
    whole = np.clip(np.rint(np.nan_to_num(pixels.astype(np.float64))), 0, 255).astype(np.uint8)
    if layout == "GRAYSCALE":
        return pil().fromarray(whole[0])
    channels_last = whole.transpose(1, 2, 0)
    return pil().fromarray(np.ascontiguousarray(channels_last[:, :, ::-1] if layout == "BGR" else channels_last))
