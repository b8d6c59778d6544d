"""Trained ensembles on disk: written, read, published, exchanged."""
