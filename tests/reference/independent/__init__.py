"""The five tasks computed once more in float64 by transformers, numpy and scikit-learn alone.

Nothing here imports the suite (tests/reference/test_recompute.py holds that): definitions come from the docstrings of
the tasks, draws from the names of their seeds. `python -m tests.reference.recompute` compares the two.
"""
