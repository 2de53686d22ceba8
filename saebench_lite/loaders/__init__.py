"""Readers of saved SAEs, one format family a file. Each file ends in `LOADER = Loader(...)`."""
