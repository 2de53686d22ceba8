"""One published format a file.

May import: errors, files, loading, saes.
"""
