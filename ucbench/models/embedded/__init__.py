"""The model `embedded:tiny-vlm`: its checkpoint and the code that trains it from scratch."""
