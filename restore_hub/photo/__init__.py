"""Pictures in and out: reading, writing, metadata and colour. Nothing here imports torch."""
