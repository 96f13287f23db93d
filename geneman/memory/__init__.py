"""What a recipe needs of a device: memory, arithmetic and time, and how it is made to fit."""
