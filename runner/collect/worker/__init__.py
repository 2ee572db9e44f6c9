"""What runs in the interpreter that has the kernels: standard library and that one library, nothing of ours."""
