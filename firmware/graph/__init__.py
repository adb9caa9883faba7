"""Integer graphs under construction: operators that take scales and float constants and leave integers."""
