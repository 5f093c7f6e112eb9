"""Converters from source frameworks to programs. Each imports its framework when it is used, never before."""
