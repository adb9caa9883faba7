"""Arithmetic and plumbing units: one component per file, sized by numbers, free of Config."""
