"""Devices: what runs ops. ``reference`` is the yardstick for all others."""
