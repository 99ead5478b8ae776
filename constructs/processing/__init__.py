"""The deployed module: one construct a file; ``resources`` composes them, ``module`` is the whole for any stack."""
