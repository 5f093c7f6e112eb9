"""Ten failures of float16, planted in otherwise ordinary models: ``python -m tools.planted`` runs them at full size."""
