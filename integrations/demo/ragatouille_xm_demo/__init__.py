"""Data for ragatouille-xm's checkpoint "demo": ``delta.safetensors``.

Made by ``benchmarks/demo_checkpoint/train.py``.
"""
