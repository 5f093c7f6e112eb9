"""What runs models to learn about them."""
