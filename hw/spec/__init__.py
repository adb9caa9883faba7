"""The single sources: what is built, what it computes, how it is told, what the host sees."""
