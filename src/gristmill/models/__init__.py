"""The public classes: converting, loading, running and saving models."""

from __future__ import annotations

from gristmill.models import compute_device, compute_plan, ml_program, model, utils
from gristmill.models.model import MLModel

__all__ = ["MLModel", "compute_device", "compute_plan", "ml_program", "model", "utils"]
