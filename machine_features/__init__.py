"""Read features in notebooks, training jobs and services; never part of the Lambda function.

``training`` reads the training set; ``pandas_boundary`` is the one place where a frame becomes pandas.
"""
