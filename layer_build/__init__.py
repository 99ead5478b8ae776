"""Builds what Lambda loads: a layer of locked wheels that fits, and the function's own package."""
