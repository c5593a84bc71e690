"""What a run leaves: its folder, its values, and the tracker that is told of them."""
