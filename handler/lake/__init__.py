"""The lake: the only place that speaks to an object store.

``lake`` lists partitions and reads and writes files. ``listing`` finds the objects below a prefix, ``folder`` reads and
writes the files of a lake on this machine. ``objects`` reads raw objects a range at a time, ``unpack`` decompresses
them. ``requests`` sends many requests at a time, ``parquet`` encodes files, seals them and reads their footers.
``spool`` holds rows that wait to be written, ``ahead`` works in threads ahead of its caller.
"""
