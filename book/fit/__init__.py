"""What the page "Will it fit?" is made of."""
