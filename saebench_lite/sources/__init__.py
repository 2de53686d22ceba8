"""One origin of labelled texts a file. The only room that imports datasets.

May import: errors, wheels, files, names, data, bundled, worlds.
"""
