"""What only the Slicer module needs; imported inside its methods."""
