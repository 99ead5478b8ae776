"""What the Lambda runs: raw partitions → tiles → features, to a table and a training set."""

from handler.memory import keep_little

keep_little()
