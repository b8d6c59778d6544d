"""What the rooms of papers share: a paper's terms, our outcomes in them, its numbers, and tables of both."""
