"""What is known about people beforehand: protocols, and two families that keep them."""
