"""The commands of `python -m firmware`: each takes parsed arguments and returns an exit status."""
