"""One module per kind of protocol."""
