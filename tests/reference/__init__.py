"""Other benchmarks' formulas and slow ways to a figure, as references for tests and experiments."""
