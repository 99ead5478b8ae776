"""What everything else agrees on; pure.

``spec`` reads features.toml, ``schema`` names every column once, ``layout`` every key once. ``raw`` describes raw
objects, ``fields`` where their lines hold what. ``timestamps`` reads and writes instants, ``errors`` is the tree of
errors.
"""
