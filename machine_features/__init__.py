"""Read features in notebooks, training jobs and services; never part of the Lambda function.

:class:`FeatureStore` opens a lake and its table. Everything is Polars, in and out; :func:`to_pandas` is the boundary.

``store`` is the front. ``training`` finds training files, ``scan`` reads them, ``history`` loads what was known at an
instant, and ``windows`` computes its rows. ``labels`` and ``joins`` put failures and features beside entities.
``online`` reads the table, ``parity`` compares the two. ``trace`` finds the raw lines of a value, ``export`` writes
daily files, ``report`` an HTML page. ``catalogue`` describes the features. ``places``, ``names`` and ``times`` read
arguments as people write them, ``pandas_boundary`` converts. ``errors`` is the tree of errors, ``__main__`` the command
line.
"""

from machine_features.pandas_boundary import from_pandas, to_pandas
from machine_features.store import FeatureStore

__all__ = ["FeatureStore", "from_pandas", "to_pandas"]
