"""Frames → frames: accepted lines become tiles, and tiles become hours; both merge without loss.

``merge`` is the arithmetic, ``build`` makes tiles of lines, ``hours`` rolls tiles up. ``partition`` maps one raw
partition to its processed files; ``builder`` is its state meanwhile, and ``held`` that of its tiles. ``parts`` maps one
that is too large for one process. ``groups`` divides many machines.
``manifest`` describes a tile file in its footer. ``files`` keeps the files of partitions up to date.
"""
