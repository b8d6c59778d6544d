"""What people write: recipes and protocols in TOML, read, validated and hashed. No torch."""
