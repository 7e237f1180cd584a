"""The stepper: what a launch did, step by step, in the browser."""
