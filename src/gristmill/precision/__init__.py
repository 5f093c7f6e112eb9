"""Choosing precision: the float16 typing pass, and the types at a program's boundary."""
