"""A rendered hand whose joints are known, and MediaPipe's two steps to find them: detector, then landmarks.

Zhang et al., "MediaPipe Hands" (2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

SIZE = 480
DETECTOR_SIZE, LANDMARK_SIZE = 192, 224

WRIST = (240, 440)
FINGERS = [  # thumb to little finger, each from its knuckle to its tip
    [(185, 395), (140, 345), (108, 300), (84, 262)],
    [(188, 268), (172, 190), (164, 140), (158, 98)],
    [(234, 254), (232, 166), (231, 112), (230, 64)],
    [(278, 264), (290, 182), (297, 132), (303, 88)],
    [(318, 288), (342, 230), (356, 192), (368, 158)],
]
JOINTS = np.array([WRIST, *(joint for finger in FINGERS for joint in finger)], float)
"""All 21 joints in pixels, in MediaPipe's order."""

TIPS = [4, 8, 12, 16, 20]
HEIGHT = float(np.ptp(JOINTS[:, 1]))
"""From the wrist to the highest fingertip, in pixels."""

_WIDTHS = [(40, 34, 30, 25), (38, 33, 29, 24), (39, 34, 30, 25), (37, 32, 28, 23), (32, 28, 25, 21)]

Run = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]


def render() -> Image.Image:
    """Draws the hand: rounded rods between the joints, lit from above, before a plain background."""
    parts = [_rod((215, 345), (285, 345), 62, 58), _rod((240, 420), (240, 520), 46, 52)]  # palm and arm
    for finger, widths in zip(FINGERS, _WIDTHS, strict=True):
        parts.append(_rod(WRIST, finger[0], 32, widths[0] / 2 + 5))
        parts += [_rod(finger[i], finger[i + 1], widths[i] / 2, widths[i + 1] / 2) for i in range(3)]
    height = np.maximum.reduce(parts)
    cover = _blur((height > 0).astype(float), 1.0)[..., None]
    slope_y, slope_x = np.gradient(_blur(height, 2.5))
    light = (0.4 * slope_x + 0.5 * slope_y + 0.77) / np.sqrt(slope_x**2 + slope_y**2 + 1)
    grain = 8 * _blur(np.random.default_rng(0).normal(size=(SIZE, SIZE)), 1.5)
    skin = np.array([224, 172, 138]) * (np.clip(light, 0, 1) * 0.6 + 0.45)[..., None] + grain[..., None]
    wall = np.array([70, 90, 110]) * np.linspace(0.8, 1.2, SIZE)[:, None, None]
    return Image.fromarray(np.clip(skin * cover + wall * (1 - cover), 0, 255).astype(np.uint8))


def _rod(a: tuple[float, float], b: tuple[float, float], radius_a: float, radius_b: float) -> np.ndarray:
    """Height above the image plane of a rod with round ends."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    distance = np.hypot(x - a[0] - t * dx, y - a[1] - t * dy)
    return np.sqrt(np.maximum((radius_a + (radius_b - radius_a) * t) ** 2 - distance**2, 0))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    reach = math.ceil(4 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, padding, mode="edge"), len(kernel), axis)
        image = windows @ kernel
    return image


@dataclass(frozen=True)
class Square:
    """A rotated square in the image: centre and side in pixels, angle in radians, clockwise."""

    x: float
    y: float
    side: float
    angle: float

    def crop(self, image: Image.Image, size: int) -> np.ndarray:
        """Its pixels from 0 to 1, `[1, size, size, 3]`, float32."""
        (a, b, c), (d, e, f) = self._matrix() @ np.diag([1 / size, 1 / size, 1])
        pixels = image.transform((size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
        return np.asarray(pixels, np.float32)[None] / 255

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points of the square, from 0 to 1, in pixels of the image."""
        return np.c_[points, np.ones(len(points))] @ self._matrix().T

    def _matrix(self) -> np.ndarray:
        cos, sin = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        return np.array([[cos, -sin, self.x - (cos - sin) / 2], [sin, cos, self.y - (sin + cos) / 2]])


def detect(run: Run, image: Image.Image) -> tuple[float, Square]:
    """Finds the most likely palm.

    Args:
        run: Predicts with the detector.
        image: A square picture.

    Returns:
        Its probability, and the square around the whole hand, turned so that the fingers point up.
    """
    whole = Square(image.width / 2, image.height / 2, image.width, 0)
    outputs = run({"image": whole.crop(image, DETECTOR_SIZE)})
    scores = outputs["Identity_1"].astype(float).reshape(-1)
    best = int(scores.argmax())
    box = outputs["Identity"][0, best].astype(float) / DETECTOR_SIZE
    points = box.reshape(-1, 2) + _anchors()[best]  # centre, size, then seven points of the palm
    size = box[2:4].max() * image.width
    wrist, knuckle = points[2] * image.width, points[4] * image.width
    angle = math.pi / 2 - math.atan2(wrist[1] - knuckle[1], knuckle[0] - wrist[0])
    x, y = points[0] * image.width + 0.5 * size * np.array([math.sin(angle), -math.cos(angle)])  # up to the fingers
    return 1 / (1 + math.exp(-scores[best])), Square(x, y, 2.6 * size, angle)


def _anchors() -> np.ndarray:
    """Centres of the detector's cells, from 0 to 1."""
    grids = []
    for cells, each in ((24, 2), (12, 6)):
        y, x = np.mgrid[0:cells, 0:cells]
        grids.append(np.repeat(np.c_[x.ravel(), y.ravel()] + 0.5, each, axis=0) / cells)
    return np.concatenate(grids)


def landmarks(run: Run, image: Image.Image, square: Square) -> tuple[float, np.ndarray]:
    """Finds the joints of the hand in a square.

    Returns:
        The probability that there is a hand, and the joints in pixels, `[21, 2]`.
    """
    outputs = run({"image": square.crop(image, LANDMARK_SIZE)})
    joints = outputs["Identity"].astype(float).reshape(21, 3)[:, :2] / LANDMARK_SIZE
    return float(outputs["Identity_1"].reshape(-1)[0]), square.to_image(joints)
