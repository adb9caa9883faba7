"""The families of networks: one folder each, with everything that only that family knows."""
