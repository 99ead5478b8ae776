"""Tiles → feature rows.

``history`` loads the tiles that a set of rows looks back on, ``windows`` merges them into windows. ``statistics``
computes the statistics of a window, ``rows`` lays them side by side.
"""
