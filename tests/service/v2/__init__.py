"""Tests of the V2 inference protocol."""
