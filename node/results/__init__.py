"""What leaves the node: SEG, overlay series, demo picture, and the gate that checks them."""
