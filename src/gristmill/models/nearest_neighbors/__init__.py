"""Building and updating classifiers by the nearest samples."""

from __future__ import annotations

from gristmill.models.nearest_neighbors.builder import KNearestNeighborsClassifierBuilder, update

__all__ = ["KNearestNeighborsClassifierBuilder", "update"]
