"""What a mask is, by its sizes."""


def causal_lower_right(rows, seen):
    return rows, seen
