"""Training recipes: the bundled reference model and sparse autoencoders of each architecture."""
