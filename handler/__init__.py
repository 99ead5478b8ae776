"""What the Lambda function runs: raw partitions become tiles, tiles become features.

``app`` is the entry point, ``pipeline`` the flow of a run on one page, ``plan`` what the run decides beforehand.

========================  =====================================================================
``app``                   event in, answer out
``settings``              the only reader of the environment
``plan``                  event → one frozen plan; pure
``deadline``              whether the time left will do for one more step
``pipeline``              plan → map → reduce → stores
``answer``                the sums that a run answers with
``observability``         logs and metrics
``aws``                   where AWS is and who we are there, as botocore finds it
``definitions``           what features are: spec, schemas, keys, instants, errors; pure
``lake``                  the object store: list, read, unpack, write
``ingest``                bytes → frames: the decoder, and a class for each line
``tiles``                 frames → frames: build, merge and roll up tiles; one partition's map
``features``              tiles → feature rows
``stores``                where rows go: the online table and the training files
========================  =====================================================================
"""
