"""What is kept on disk of tables, step costs, training and fits, so that a new process need not make them again."""
