"""Read features in notebooks, training jobs and services; never part of the Lambda function.

``pandas_boundary`` is the one place where a frame becomes pandas.
"""
