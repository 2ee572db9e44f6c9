"""From columns of text to a `Batch`: what each column means, in which unit, and which rows cannot be true."""
