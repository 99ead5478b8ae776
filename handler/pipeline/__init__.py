"""The flow of a run: in one process, or in stages that many share.

``run`` takes the steps of a run one after the other; ``stages`` takes them as events, ``exchange`` holds what one stage
leaves for the next. ``inputs`` tells which training hours can still be written, and ``loss`` which would lose rows.
"""
