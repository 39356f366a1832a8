"""Of the measurements: the parts that need neither a quiet machine nor other servers."""
