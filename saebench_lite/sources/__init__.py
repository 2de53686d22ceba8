"""One origin of labelled texts a file. The only room that imports datasets.

May import: errors, files, names, data, bundled, worlds.
"""
