"""One run of training: the loop, and its parts."""
