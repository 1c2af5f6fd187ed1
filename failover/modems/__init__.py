"""Modems, as their manager tells them, and what is done to them. Knows the words, never the brain."""
