"""Gristmill beside other engines on the same models, weights and machine."""
