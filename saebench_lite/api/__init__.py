"""What an author of a task or a baseline works with.

May import: errors, progress, files, registry, stats, data, records, saes, models, activations.
"""
