"""From a spec to an SAE: where it lies, which loader reads it, what a file may hold.

May import: bundled, errors, files, registry, saes.
"""
