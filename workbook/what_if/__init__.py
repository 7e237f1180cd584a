"""What-if: draws what a launch would do before anything is compiled, and compares it with what it really does."""
