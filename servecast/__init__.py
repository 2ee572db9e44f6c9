"""The doors of the product: command line, task files, tune, whatif and reports."""
