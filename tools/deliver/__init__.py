"""Tools for a trained adapter: sample it, export it, push it."""
