"""Gristmill: Core ML for every computer."""
