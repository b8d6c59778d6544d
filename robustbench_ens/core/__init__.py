"""The ground floor: files, locks, digests, seeds, limits and text. It imports nothing of this package but `errors`."""
