"""Measurements of speed and memory that the project's claims rest on."""
