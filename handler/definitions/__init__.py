"""What everything else agrees on; pure.

``spec`` reads features.toml, ``schema`` names every column once, ``layout`` every key once, ``raw`` holds what a raw
object is, ``timestamps`` reads and writes instants, ``errors`` is the tree of errors.
"""
