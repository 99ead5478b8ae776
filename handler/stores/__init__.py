"""Where feature rows go: ``online`` writes items through ``dynamodb``, ``training`` writes files."""
