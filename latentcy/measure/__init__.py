"""What is read from a pipeline: times, floating-point operations, memory, tokens."""
