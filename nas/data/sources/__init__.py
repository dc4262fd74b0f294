"""One file per kind of source. Every module here is imported when the first dataset is loaded."""
