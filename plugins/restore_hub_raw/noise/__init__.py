"""A camera's noise from its own frames."""
