"""What plans are made of: tasks, scratchpad and constants of a program, and the scheduler that interleaves them."""
