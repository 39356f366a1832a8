"""Tests of ``bench.study``."""
