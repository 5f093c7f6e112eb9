"""All entries; importing this module registers them."""

from __future__ import annotations

from tools.model_zoo import generative, language, sound, vision
from tools.model_zoo.registry import ARCHITECTURES

FAMILIES = (vision, language, sound, generative)

__all__ = ["ARCHITECTURES", "FAMILIES"]
