"""From a spec to an SAE: where it lies, which loader reads it, what a file may hold.

May import: errors, files, registry, saes.
"""
