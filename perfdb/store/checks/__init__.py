"""What `db check` looks for in a database: one module for the numbers of points, one for groups, files, operations."""
