"""Where feature rows go: the online table, and the training files.

``online`` turns rows into items and puts them through ``dynamodb``, which sends requests through AWS's own runtime.
``responses`` reads the answers. ``training`` writes the files of as_of hours.
"""
