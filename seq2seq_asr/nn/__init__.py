"""Features, encoder, attention, decoder, CTC and the model: plain PyTorch, meant to be read."""
