"""What training did to a model."""
