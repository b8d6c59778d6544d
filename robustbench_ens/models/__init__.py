"""Networks with addressable layers, ensembles of them, and their weights on disk."""
