"""One JSON file a score, and what is read out of many of them.

May import: version, errors, progress, names, files, stats. Never: torch.
"""
