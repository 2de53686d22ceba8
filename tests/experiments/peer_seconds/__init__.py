"""Seconds of three evaluations, SAEBench 0.6.0 and this package side by side in one run."""
