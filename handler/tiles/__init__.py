"""Frames → frames: tiles of accepted lines, merged without loss.

``merge`` is the arithmetic, ``hours`` rolls tiles up, ``partition`` maps one raw partition to its processed files.
"""
