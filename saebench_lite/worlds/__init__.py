"""Worlds whose features are known: activations made of planted directions, to hold metrics to the truth."""
