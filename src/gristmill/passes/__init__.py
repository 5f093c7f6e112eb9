"""Passes over programs, one a file; ``infra`` runs them, ``pipeline`` puts them in order."""
