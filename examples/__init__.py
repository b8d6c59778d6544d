"""A training method and a network of one's own, and a recipe that uses both."""
