"""Training from a configuration: folder, corpus, tokenizer, model, and what a resumed run may change."""
