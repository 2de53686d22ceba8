"""One published format a file.

May import: errors, loading, saes.
"""
