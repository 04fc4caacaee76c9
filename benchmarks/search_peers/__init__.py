"""The parts of `benchmarks/search.py`: texts, vectors, the systems, and the process that measures each of them."""
