"""Other ways to spread a run over machines; each needs an extra of its own."""
