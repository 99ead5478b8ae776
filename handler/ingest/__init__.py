"""Bytes → frames: each line of a batch of raw objects ends in exactly one class.

- ``classes`` puts lines in their classes.
- ``framing`` cuts the parts of objects where lines end.
- ``decoder`` decodes the lines that are certain to be accepted, by the compiled code that ``library`` loads.
- ``duplicates`` drops the lines that a partition already had.
- ``json_lines`` decodes every other line, and all lines where there is no library.
"""
