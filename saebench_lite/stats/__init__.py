"""Intervals, paired tests, ranks and seeds. Pure functions of numpy arrays.

May import: errors.
"""
