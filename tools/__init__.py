"""What the project's own tests, examples and benchmarks share; not part of the installed package."""
