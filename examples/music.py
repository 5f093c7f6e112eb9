"""A melody and a chord, and what a transcription model hears in them."""

from __future__ import annotations

import numpy as np

RATE = 22050
"""Samples a second that the model expects."""

SAMPLES = 43844
"""Length of the model's window."""

FRAMES_PER_SECOND = RATE / 256
LOWEST = 21
"""MIDI number of a piano's lowest key, the model's first pitch."""

_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")

SCORE = [  # MIDI pitch, start and end in seconds
    (60, 0.05, 0.40),
    (64, 0.40, 0.75),
    (67, 0.75, 1.10),
    (57, 1.15, 1.95),
    (60, 1.15, 1.95),
    (64, 1.15, 1.95),
]
"""C, E and G one after another, then A minor."""


def name(pitch: int) -> str:
    """A pitch's name, such as C4 for 60."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def synthesize() -> np.ndarray:
    """Plays the score on decaying strings: `[1, samples, 1]`, float32."""
    audio = np.zeros(SAMPLES)
    for pitch, start, end in SCORE:
        first, last = int(start * RATE), int(end * RATE)
        t = np.arange(last - first) / RATE
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * frequency * t) / k**1.5 for k in range(1, 7))
        audio[first:last] += tone * np.exp(-2 * t) * np.minimum(1, np.minimum(t, t[::-1]) * 100)
    return (0.5 * audio / np.abs(audio).max()).astype(np.float32)[None, :, None]


def heard(notes: np.ndarray) -> set[tuple[int, float]]:
    """Notes of the score, by pitch and start, that are likely (above 1/2) half of their time or more.

    Args:
        notes: Probability of each pitch in each frame, `[1, frames, 88]`.
    """
    found = set()
    for pitch, start, end in SCORE:
        frames = slice(int(start * FRAMES_PER_SECOND), int(end * FRAMES_PER_SECOND))
        if np.median(notes[0, frames, pitch - LOWEST]) > 0.5:
            found.add((pitch, start))
    return found


def wrong(notes: np.ndarray) -> int:
    """Number of pitches that are likely in ten frames (0.12 s) or more, although nobody plays them."""
    played = {pitch - LOWEST for pitch, _, _ in SCORE}
    return sum(int((notes[0, :, p] > 0.5).sum() >= 10) for p in range(notes.shape[2]) if p not in played)
