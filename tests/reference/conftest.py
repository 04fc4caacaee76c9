"""The scripts of this folder need upstream's environments: pytest shall not import them."""

collect_ignore_glob = ["make_*.py", "recording.py"]
