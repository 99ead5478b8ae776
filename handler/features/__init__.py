"""Tiles → feature rows.

``history`` loads what a set of rows looks back on, ``windows`` merges it into windows, ``statistics`` computes the
statistics of a window, ``rows`` lays them side by side.
"""
