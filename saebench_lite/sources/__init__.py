"""Where labelled texts come from, one source a file. Each file ends in `SOURCE = Source(...)`."""
