"""How each library takes one outer step of a task: `make(task, method, steps)` returns it, or raises LookupError."""
