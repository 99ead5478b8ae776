"""Frames → frames: accepted lines become tiles, and tiles become hours; both merge without loss.

``merge`` is the arithmetic, ``build`` makes tiles of lines, ``hours`` rolls tiles up. ``partition`` maps one raw
partition to its processed files, ``manifest`` describes a tile file in its footer. ``groups`` deals with many machines
some at a time. ``files`` keeps the files of partitions up to date.
"""
