"""Frames → frames: accepted lines become tiles, and tiles become hours; both merge without loss.

``merge`` is the arithmetic, ``build`` makes tiles of lines, ``hours`` rolls tiles up. ``partition`` maps one raw
partition to its processed files, ``held`` holds the tiles of its batches, ``groups`` divides many machines.
``manifest`` describes a tile file in its footer. ``files`` keeps the files of partitions up to date.
"""
