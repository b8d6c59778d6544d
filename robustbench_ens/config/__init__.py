"""Recipes and protocols: TOML files that are read, validated and hashed here, without torch."""
