"""Source frameworks, where coremltools has them."""
