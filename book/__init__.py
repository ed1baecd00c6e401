"""What builds the book: `python -m book.build` executes its chapters, and makes pages of them."""
