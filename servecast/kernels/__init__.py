"""Times of single operations: looked up for a file of questions, and measured on this machine."""
