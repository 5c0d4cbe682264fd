"""Sampling: from a prompt and conditions to pictures and sound, with the machinery that training uses."""
