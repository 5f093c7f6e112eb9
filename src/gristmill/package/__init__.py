"""Files of the Core ML format: ``.mlpackage``, ``.mlmodel``, ``.mlmodelc``, and the weight blob file."""
