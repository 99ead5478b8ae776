"""The lake: the only place that speaks to an object store.

``lake`` lists partitions and reads and writes files. ``listing`` finds the objects of a folder, ``objects`` reads them
a range at a time, ``unpack`` decompresses them. ``requests`` sends many requests at a time, ``parquet`` encodes files,
seals them and reads their footers. ``spool`` holds rows that wait to be written, ``ahead`` works in threads ahead of
its caller.
"""
