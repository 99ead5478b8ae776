"""Frames → frames: accepted lines become tiles, tiles become hours; all of them merge without loss.

``merge`` is the arithmetic, ``build`` makes tiles of lines, ``hours`` rolls tiles up, ``partition`` maps one raw
partition to its processed files, ``manifest`` is what a tile file says of itself.
"""
