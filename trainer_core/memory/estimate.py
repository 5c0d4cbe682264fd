"""Closed-form arithmetic of what a training takes: device and host memory, disk, FLOPs. No torch."""
