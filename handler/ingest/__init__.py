"""Bytes → frames: each line of a batch of raw objects ends in exactly one class.

``classes`` puts lines in their classes, ``decoder`` decodes lines that are certain to be accepted, ``json_lines`` all
others.
"""
