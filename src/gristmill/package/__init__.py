"""Files of the Core ML format: ``.mlpackage``, ``.mlmodel``, ``.mlmodelc``, and the weight blob file.

`load` gives a `Package`, which holds the specification (a protobuf message) and the decoded program, and saves itself.
"""

from gristmill.package.model import Package, load

__all__ = ["Package", "load"]
