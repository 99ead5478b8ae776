"""The deployed module: one construct a file, :mod:`processing.module` composes them."""
