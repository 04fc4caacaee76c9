"""Data for ragatouille-xm's checkpoint "demo": ``delta.safetensors``, made by ``benchmarks/demo_checkpoint/train.py``."""
