"""Tests of training.diagnose."""
