"""Token vectors as whole numbers, and the codebooks that stand for them."""
