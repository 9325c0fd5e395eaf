"""What does an accelerator make of all this? One command, at most eight minutes.

Each part is a module with a function that yields rows; it runs in a process of its own, within a
time limit of its own, so that a crash or a hang costs one part and says why.
"""
