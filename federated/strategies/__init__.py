"""The round engine in the shape that Flower users know."""
