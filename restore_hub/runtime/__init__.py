"""Jobs that use an exported file: restoring one photo or a folder, checking a machine. Nothing here imports torch."""
