"""Tests of the way from a trained run to a bundle, and of the contract."""
