"""What can be done with what was trained: sample it, export it, push it."""
