"""Tiles → feature rows.

``history`` loads what a set of rows looks back on, ``windows`` merges it, ``rows`` computes the features.
"""
