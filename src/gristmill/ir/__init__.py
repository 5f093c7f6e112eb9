"""The typed intermediate representation: types, dimensions, values, programs, builder, verifier, text.

Nothing here knows of protobuf, of kernels or of source frameworks.
"""
