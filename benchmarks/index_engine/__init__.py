"""The parts of `benchmarks/index.py`: corpora, the engines, and the process that takes each measure of one of them."""
