"""The ground floor: what everything else rests on. Imports nothing else of this package but `errors`."""
