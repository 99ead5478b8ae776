"""The lake: the only place that speaks to an object store.

``lake`` lists partitions and reads and writes files. ``listing`` finds the objects of a folder, ``objects`` reads them
a range at a time, ``unpack`` decompresses them. ``requests`` sends many requests at a time, ``parquet`` encodes files
and reads their footers, ``ahead`` works in threads ahead of its caller.
"""
