"""Language models and their hook points. The only room that imports transformers.

May import: errors, progress, wheels, names, files, data, bundled.
"""
